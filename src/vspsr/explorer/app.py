"""The explorer's web application: every route, thin. Work of more than an instant is a job of `vspsr.explorer.jobs`."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from vspsr.consistency.progress import Progress
from vspsr.errors import VSpSRError, explain, is_expected
from vspsr.explorer import work
from vspsr.explorer.editing import key_of, unlikeliness
from vspsr.explorer.guard import Guard, cookie_name
from vspsr.explorer.jobs import BusyError, Job, Jobs
from vspsr.explorer.keep import export
from vspsr.explorer.limits import Limits
from vspsr.explorer.messages import Ask, Clip, Components, DraftRequest, Edits, Export, LayerRequest, checked_json
from vspsr.explorer.session import NotFoundError, Session, Sessions
from vspsr.explorer.temporary import temporary_folder
from vspsr.explorer.uploads import read_picture, read_upload, received
from vspsr.files import one_line
from vspsr.images.picture import Picture
from vspsr.model import VSpSR
from vspsr.upscaling.intervals import model_digest

_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}


def create_app(
    model: VSpSR,
    name: str = "model",
    hosts: frozenset[str] = frozenset(),
    limits: Limits | None = None,
    photo: Path | None = None,
    was_jpeg: bool = False,
) -> FastAPI:
    """The application; `app.state.token` is what requests must carry.

    Args:
        model: that pictures are opened with.
        name: of the model, for the page.
        hosts: names allowed in the Host header, beside "localhost" and IP addresses.
        limits: on requests, memory and work.
        photo: a picture that the page opens first.
        was_jpeg: as in `read_source`, of all pictures that are opened.
    """
    limits = limits or Limits()
    token = secrets.token_urlsafe(24)

    def end(session: Session) -> None:
        for job in jobs.of(session.id):
            jobs.cancel(job)
        session.downloads.close()

    jobs, sessions, digest = Jobs(limits.workers, limits.waiting), Sessions(limits, end), model_digest(model)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with temporary_folder("vspsr-explore-") as app.state.folder:
            try:
                yield
            finally:
                jobs.close()

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    app.state.token, app.state.sessions, app.state.jobs = token, sessions, jobs
    app.add_middleware(Guard, token=token, hosts=hosts, limits=limits)
    _add_handlers(app)
    static = Path(str(resources.files("vspsr.explorer") / "static"))
    app.mount("/static", StaticFiles(directory=static), name="static")

    @app.get("/")
    def index(request: Request) -> Response:
        response = Response((static / "index.html").read_bytes(), media_type="text/html; charset=utf-8")
        response.set_cookie(cookie_name(request.scope), token, httponly=True, samesite="strict")
        return response

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        return {
            "model": name,
            "experimental": name.endswith("-explore"),
            "photo": None if photo is None else one_line(photo.name),
            "upload_bytes": limits.upload_bytes,
        }

    def read(path: Path, title: str) -> Session:
        session, saved = read_upload(path, title, limits, was_jpeg)
        session.degradation, session.digest = model.degradation, digest
        session.saved_note = "" if saved is None else saved.note(title, name, digest, model.scale)
        return session

    def opened(session: Session) -> dict[str, Any]:
        sessions.add(session)
        session.opening = jobs.submit(
            session.id, "open", "opening the picture", lambda progress: work.open_picture(session, model, progress)
        )
        return describe(session)

    def add_file(session: Session, title: str, picture: Picture) -> dict[str, Any]:
        file, (height, width) = sessions.add_file(session, title, picture), picture.size
        return {"file": file, "title": title, "width": width, "height": height}

    def describe(session: Session) -> dict[str, Any]:
        h, w = session.picture.size
        return {
            "session": session.id,
            "name": session.name,
            "width": model.scale * w,
            "height": model.scale * h,
            "scale": model.scale,
            "unit": session.source.unit,
            "note": "; ".join(filter(None, (session.source.assumed, session.saved_note))),
            "large": session.lr_pixels > limits.whole_lr_pixels,
            "ready": session.pictures is not None,
            "document": session.document,
            "jobs": [job.report() for job in jobs.of(session.id)],
        }

    def started(
        session: Session, request: Any, function: Callable[[Session, Any, Progress], Any], what: str, **how: bool
    ) -> dict[str, Any]:
        """The report of a job that waits until the picture is open."""
        key, make = f"{function.__name__} {key_of(request)}", partial(function, session, request)
        return jobs.submit(session.id, key, what, make, after=session.opening, **how).report()

    def get_session(session_id: str) -> Session:
        return sessions.get(session_id)

    def get_job(session_id: str, job_id: str) -> Job:
        if (job := jobs.get(session_id, job_id)) is None:
            raise NotFoundError("there is no such job (any more)")
        return job

    Open = Annotated[Session, Depends(get_session)]
    TheJob = Annotated[Job, Depends(get_job)]

    @app.post("/api/sessions", status_code=201)
    async def open_upload(request: Request) -> dict[str, Any]:
        async with received(request, app.state.folder) as (path, title):
            session = await asyncio.to_thread(read, path, title)
        return opened(session)

    @app.post("/api/sessions/{which}", status_code=201)
    def open_own(which: str) -> dict[str, Any]:
        if (path := {"photo": photo, "example": static / "example.png"}.get(which)) is None:
            raise NotFoundError("there is no such picture")
        return opened(read(path, one_line(path.name)))

    @app.get("/api/sessions/{session_id}")
    def session_info(session: Open) -> dict[str, Any]:
        return describe(session)

    @app.delete("/api/sessions/{session_id}", status_code=204)
    def close_session(session: Open) -> Response:
        sessions.close(session)
        return Response(status_code=204)

    @app.put("/api/sessions/{session_id}/document", status_code=204)
    def put_document(session: Open, document: dict[str, Any]) -> Response:
        session.document = checked_json(document, "document")
        return Response(status_code=204)

    @app.post("/api/sessions/{session_id}/files", status_code=201)
    async def upload_file(session: Open, request: Request) -> dict[str, Any]:
        async with received(request, app.state.folder) as (path, title):
            source = await asyncio.to_thread(read_picture, path, title, limits.file_pixels)
        return add_file(session, title, source.picture)

    @app.post("/api/sessions/{session_id}/clips", status_code=201)
    def add_clip(session: Open, request: Clip) -> dict[str, Any]:
        return add_file(session, "clip", work.clip(session, request))

    @app.post("/api/sessions/{session_id}/layers")
    def layer(session: Open, request: LayerRequest) -> dict[str, Any]:
        key = work.layer_name(request.member, request.edits)
        if (made := session.layers.used(key)) is not None:
            return {"state": "done", "result": made.report()}
        is_map = request.member.kind == "stddev"
        picture = "making a thumbnail" if request.background else "computing the picture"
        return jobs.submit(
            session.id,
            f"layer {key}",
            "computing the standard deviation" if is_map else picture,
            lambda progress: work.layer(session, request.member, request.edits, progress).report(),
            background=request.background or is_map,
            after=session.opening if work.needs_space(request.member) else None,
        ).report()

    @app.post("/api/sessions/{session_id}/drafts")
    def drafts(session: Open, request: DraftRequest) -> dict[str, Any]:
        return started(session, request, work.draft, "computing what is visible", urgent=True)

    @app.get("/api/sessions/{session_id}/layers/{layer_id}/tiles/{level}/{x}/{y}")
    def tile(session: Open, layer_id: str, level: int, x: int, y: int) -> Response:
        try:
            content = session.layer(layer_id).tile(level, x, y)
        except KeyError:
            raise NotFoundError("the picture has no such tile") from None
        return Response(content, media_type="image/png", headers=_FOREVER)

    @app.get("/api/sessions/{session_id}/layers/{layer_id}/thumbnail")
    def thumbnail(session: Open, layer_id: str) -> Response:
        return Response(session.layer(layer_id).thumbnail(), media_type="image/png", headers=_FOREVER)

    @app.get("/api/sessions/{session_id}/layers/{layer_id}/pixel")
    def pixel(session: Open, layer_id: str, x: int, y: int, spread: str | None = None) -> dict[str, Any]:
        return work.pixel(session, layer_id, x, y, spread)

    @app.post("/api/sessions/{session_id}/components")
    def components(session: Open, request: Components) -> dict[str, Any]:
        return started(session, request, work.components, "finding the components of the region")

    @app.post("/api/sessions/{session_id}/unlikeliness")
    def unlikely(session: Open, edits: Edits) -> dict[str, Any]:
        return started(session, edits, unlikeliness, "how unlikely the edits are")

    @app.post("/api/sessions/{session_id}/ask")
    def ask(session: Open, request: Ask) -> dict[str, Any]:
        return started(session, request, work.ask, "comparing the candidates")

    @app.post("/api/sessions/{session_id}/exports")
    def exports(session: Open, request: Export) -> dict[str, Any]:
        key = f"export {secrets.token_hex(8)}"
        make = partial(export, session, request, app.state.folder, name)
        return jobs.submit(session.id, key, "making the file", make, after=session.opening).report()

    @app.get("/api/sessions/{session_id}/blobs/{blob}")
    def blob(session: Open, blob: str) -> Response:
        if (file := session.downloads.get(blob)) is not None:
            return FileResponse(file.path, media_type=file.kind, filename=file.name)
        if (held := session.blobs.used(blob) or session.drafts.used(blob)) is None:
            raise NotFoundError("this file is not kept any more: ask for it again")
        kind, content = held
        return Response(content, media_type=kind)

    @app.get("/api/sessions/{session_id}/jobs/{job_id}")
    def job_state(job: TheJob) -> dict[str, Any]:
        return job.report()

    @app.delete("/api/sessions/{session_id}/jobs/{job_id}")
    def cancel(job: TheJob) -> dict[str, Any]:
        jobs.cancel(job)
        return job.report()

    return app


def _add_handlers(app: FastAPI) -> None:
    """Every error in one line of JSON."""

    def answer(status: int, text: str) -> JSONResponse:
        return JSONResponse({"error": one_line(text)}, status)

    app.add_exception_handler(ClientDisconnect, lambda *_: answer(499, "cancelled"))  # which nobody receives

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return answer(422, f"the request is not valid: {place}: {first['msg']}"[:300])

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail))

    @app.exception_handler(VSpSRError)
    @app.exception_handler(ValueError)
    def known(_: Request, error: Exception) -> JSONResponse:
        if not is_expected(error):
            raise error
        status = 404 if isinstance(error, NotFoundError) else 503 if isinstance(error, BusyError) else 422
        return answer(status, explain(error))
