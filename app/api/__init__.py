"""HTTP only: routes, schemas, problems, limits. Knows no pixels."""
