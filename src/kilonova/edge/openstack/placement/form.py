"""In which form a client sends, and takes, documents of Placement (RFC 9110 §12.5.1)."""

from __future__ import annotations

from kilonova.core.errors import Invalid
from kilonova.kit.http import PUBLIC, NotAcceptable, Request, UnsupportedMedia

JSON, HTML = "application/json", "text/html"


def check(request: Request) -> None:
    """Nothing, if a request's headers promise a body that the route takes and want an answer that it gives. Raises
    NotAcceptable, UnsupportedMedia, Invalid."""
    route = request.route
    if route is None or route.policy == PUBLIC:
        return
    if route.method == "GET" and not takes(request, JSON):
        raise NotAcceptable(f"Only {JSON} is provided")
    if route.takes != "json":
        return
    size, media = request.header("content-length"), request.header("content-type")
    empty = size in (None, "0") and request.header("transfer-encoding") is None
    if media is None and not empty:
        raise Invalid("content-type header required when content-length > 0.")
    if media is None:
        raise UnsupportedMedia(f"The media type None is not supported, use {JSON}")


def is_for_reading(request: Request) -> bool:
    """Whether whoever asks wants errors as a page: takes HTML and no JSON."""
    return request.header("accept") is not None and takes(request, HTML) and not takes(request, JSON)


def takes(request: Request, media: str) -> bool:
    """Whether a client takes this type; one that does not say takes all. The most specific range that fits decides."""
    accept = request.header("accept")
    if not accept:
        return True
    weights: dict[str, bool] = {}
    for part in accept.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        weights[name] = not any(_is_zero(one) for one in parameters)
    kind = media.partition("/")[0]
    return next((weights[name] for name in (media, f"{kind}/*", "*/*") if name in weights), False)


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip() != "" and not value.strip().strip("0.")
