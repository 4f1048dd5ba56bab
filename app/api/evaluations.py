"""``POST /v1/evaluations``: how well the models restore a picture of the caller's own."""

from __future__ import annotations

import base64
import io
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.api.callers import charge_pixels, picture_of
from app.api.models import TextDocument
from app.api.problems import (
    PICTURE_SENT,
    InternalProblem,
    InvalidOptionProblem,
    RateLimitedProblem,
    UnavailableProblem,
    declare,
)
from app.api.service import Service, service_of
from app.api.upload import body_of_a_picture, boundary_of, receive_upload
from app.imaging.picture import Pixels
from app.inference.evaluate import Evaluation, Restored, evaluate
from app.inference.registry import Registry, Variant

router = APIRouter(tags=["evaluations"])

MAX_MODELS = 8
_BICUBIC_NAME = "bicubic"
_BICUBIC = TextDocument(en="Bicubic", ru="Бикубическая")
_Image = Field(description="PNG as a data: URL.", examples=["data:image/png;base64,iVBORw0KGgo="])


def _whole(value: object) -> object:
    return {"2": 2, "4": 4}.get(value, value) if isinstance(value, str) else value


class EvaluationQuery(BaseModel):
    """What is to be measured."""

    model_config = ConfigDict(extra="forbid")

    models: str | None = Field(
        None,
        min_length=1,
        max_length=600,
        description=f"Names of up to {MAX_MODELS} models, separated by commas; without it all that have the scale. "
        "Bicubic is always measured, once.",
        examples=["fast"],
    )
    scale: Annotated[Literal[2, 4], BeforeValidator(_whole)] = Field(
        4, description="How many times the picture is shrunk, and enlarged again."
    )


class MethodDocument(BaseModel):
    """What one method made of the shrunk picture."""

    name: str = Field(description="Of the model; or bicubic, with which all are compared.", examples=["fast"])
    kind: Literal["fidelity", "perceptual", "restoration", "baseline"] = Field(description="As in `GET /v1/models`.")
    title: TextDocument
    psnr: float | None = Field(
        description="dB on luma, scale pixels shaved from each border; more is truer. Null for an exact copy.",
        examples=[31.27],
    )
    ssim: float = Field(description="Structural similarity, up to 1, on the same luma.", examples=[0.8861])
    lpips: float | None = Field(
        description="Distance as people see it, from 0; null where it is not installed.", examples=[0.201]
    )
    seconds: float = Field(description="That computing took.", examples=[0.12])
    image: str = _Image


class EvaluationDocument(BaseModel):
    """A picture, what was left of it, and what became of that."""

    scale: Literal[2, 4]
    width: int = Field(description="Of the pictures that are compared: multiples of the scale.", examples=[480])
    height: int = Field(description="Of the pictures that are compared: multiples of the scale.", examples=[324])
    original: str = _Image
    lr: str = Field(description="What the methods got: PNG as a data: URL.", examples=["data:image/png;base64,iVBOR="])
    methods: list[MethodDocument] = Field(description="Bicubic first, then the models in the order asked for.")


@router.post(
    "/v1/evaluations",
    operation_id="evaluations-create",
    summary="Measure the models on a picture",
    openapi_extra=body_of_a_picture("A sharp picture, not too large."),
    responses=declare(
        *PICTURE_SENT,
        RateLimitedProblem,
        InternalProblem,
        UnavailableProblem,
    ),
)
async def create_evaluation(
    request: Request,
    query: Annotated[EvaluationQuery, Query()],
    service: Annotated[Service, Depends(service_of)],
) -> EvaluationDocument:
    """Shrinks the picture in the part `image` as published comparisons do, has every chosen model restore it, and
    compares with the original: PSNR, SSIM and LPIPS, and the pictures themselves.
    """
    backend = service.backend
    boundary = boundary_of(request.headers, service.upload_limits)
    variants = _variants(query, backend.registry)
    most = service.settings.evaluation_max_pixels
    async with AsyncExitStack() as held:
        held.enter_context(service.admission.place())
        await held.enter_async_context(picture_of(request))
        with service.admission.upload():
            upload = await receive_upload(
                request.receive, boundary, service.upload_limits, service.disk, tuple(EvaluationQuery.model_fields)
            )
        held.callback(service.disk.submit, upload.file.close)
        await charge_pixels(request, most * len(variants))  # what a picture of unknown size may cost
        lpips = await service.lpips()

        def work(cancelled: Any) -> EvaluationDocument:
            found = evaluate(
                upload.file,
                variants,
                backend.engine,
                backend.decoder,
                scale=query.scale,
                max_pixels=most,
                lpips=lpips,
                cancelled=cancelled,
            )
            return _document(found)

        document, _ = await service.compute(work, request.receive)
        return document
    raise AssertionError("unreachable: nothing above swallows an exception")


def _variants(query: EvaluationQuery, registry: Registry) -> list[Variant]:
    # The row that every answer begins with stands for a model of its name: two rows of one name would say nothing more.
    if query.models is None:
        names = [manifest.name for manifest in registry.models() if query.scale in manifest.scales]
        names = [name for name in names if name != _BICUBIC_NAME][:MAX_MODELS]
    else:
        names = list(dict.fromkeys(name.strip() for name in query.models.split(",")))
        names = [name for name in names if name != _BICUBIC_NAME]
    if len(names) > MAX_MODELS:
        raise InvalidOptionProblem(f"models names {len(names)} models; name {MAX_MODELS} at most.", limit=MAX_MODELS)
    return [registry.find(name, query.scale) for name in names]


def _document(found: Evaluation) -> EvaluationDocument:
    height, width = found.original.shape[:2]
    return EvaluationDocument(
        scale=2 if found.scale == 2 else 4,
        width=width,
        height=height,
        original=_data_url(found.original),
        lr=_data_url(found.shrunk),
        methods=[_method(each) for each in found.restored],
    )


def _method(restored: Restored) -> MethodDocument:
    manifest = None if restored.variant is None else restored.variant.manifest
    return MethodDocument(
        name=_BICUBIC_NAME if manifest is None else manifest.name,
        kind="baseline" if manifest is None else manifest.kind,
        title=_BICUBIC if manifest is None else TextDocument(en=manifest.title.en, ru=manifest.title.ru),
        psnr=None if restored.psnr is None else round(restored.psnr, 3),
        ssim=round(restored.ssim, 5),
        lpips=None if restored.lpips is None else round(restored.lpips, 5),
        seconds=round(restored.seconds, 4),
        image=_data_url(restored.pixels),
    )


def _data_url(pixels: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
