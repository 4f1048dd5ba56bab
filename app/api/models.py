"""``GET /v1/models``: what can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from app.api.problems import (
    HostNotAllowedProblem,
    InternalProblem,
    ModelNotFoundProblem,
    UnavailableProblem,
    declare,
)
from app.api.service import Service, service_of
from app.inference.manifest import Manifest
from app.jobs import speed_name

router = APIRouter(tags=["models"])


class TextDocument(BaseModel):
    """One text in the languages of the page."""

    en: str
    ru: str


class ScaleDocument(BaseModel):
    """One factor of a model."""

    scale: int = Field(description="How many times wider and higher results are.")
    parameters: int = Field(description="Trained numbers in the network.")
    multiply_adds_per_input_pixel: int = Field(description="Work per pixel sent; comparable between models.")
    halo: int = Field(description="Border in source pixels that tiles are read with.")
    precisions: list[str] = Field(description="Number formats that the model may be computed in.")
    seconds_per_output_megapixel: float | None = Field(
        description="What a job takes one worker here, as measured lately; null until one ran."
    )
    measured: dict[str, Any] = Field(
        description="Quality on public test sets: set -> measure -> value, such as Set5 -> psnr -> 31.2 (dB)."
    )


class ModelDocument(BaseModel):
    """One model."""

    name: str = Field(description="What the option `model` takes.")
    version: str
    default: bool = Field(description="Whether it is used when no model is named.")
    title: TextDocument
    description: TextDocument
    kind: Literal["fidelity", "perceptual", "restoration", "baseline"] = Field(
        description="True to the source (fidelity), pleasant (perceptual), made to repair, or to compare with."
    )
    licence: str = Field(description="SPDX identifier of the weights' licence.")
    equalize_colors: bool = Field(description="What the option `equalize_colors` is when it is not given.")
    scales: list[ScaleDocument]


class ModelList(BaseModel):
    """All models."""

    models: list[ModelDocument]


@router.get(
    "/v1/models",
    operation_id="models-list",
    summary="List the models",
    responses=declare(HostNotAllowedProblem, InternalProblem, UnavailableProblem),
)
async def list_models(service: Annotated[Service, Depends(service_of)]) -> ModelList:
    """All models, the default one first."""
    default = service.registry.default
    documents = [_document(manifest, default, _speeds(service)) for manifest in service.registry.models()]
    return ModelList(models=sorted(documents, key=lambda model: not model.default))


@router.get(
    "/v1/models/{name}",
    operation_id="models-get",
    summary="Describe one model",
    responses=declare(ModelNotFoundProblem, HostNotAllowedProblem, InternalProblem, UnavailableProblem),
)
async def get_model(
    name: Annotated[str, Path(description="Name of the model.", max_length=64, examples=["fast"])],
    service: Annotated[Service, Depends(service_of)],
) -> ModelDocument:
    """One model by its name."""
    manifests = {manifest.name: manifest for manifest in service.registry.models()}
    if name not in manifests:
        names = sorted(manifests)
        raise ModelNotFoundProblem(f"There is no model {name[:64]!r}; there is {', '.join(names)}.", allowed=names)
    return _document(manifests[name], service.registry.default, _speeds(service))


def _speeds(service: Service) -> Mapping[str, float]:
    return {} if service.jobs is None else service.jobs.last_speeds


def _document(manifest: Manifest, default: str, speeds: Mapping[str, float]) -> ModelDocument:
    return ModelDocument(
        name=manifest.name,
        version=manifest.version,
        default=manifest.name == default,
        title=TextDocument(en=manifest.title.en, ru=manifest.title.ru),
        description=TextDocument(en=manifest.description.en, ru=manifest.description.ru),
        kind=manifest.kind,
        licence=manifest.licence,
        equalize_colors=manifest.equalize_colors,
        scales=[
            ScaleDocument(
                scale=scale,
                parameters=entry.parameters,
                multiply_adds_per_input_pixel=entry.multiply_adds_per_input_pixel,
                halo=entry.halo,
                precisions=entry.served_precisions,
                seconds_per_output_megapixel=speeds.get(speed_name(manifest.name, [scale], manifest.version)),
                measured=entry.measured,
            )
            for scale, entry in sorted(manifest.scales.items())
        ],
    )
