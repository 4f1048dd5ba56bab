"""What training minimises: content (pixels or VGG features) and, for GANs, the adversarial term."""
