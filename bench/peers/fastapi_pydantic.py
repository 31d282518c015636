"""What a user would write instead, as FastAPI's documentation recommends it: a pydantic model as the body parameter.

It validates the same beacon and stores nothing, counts nothing, limits nothing.
``python -m bench.peers.fastapi_pydantic PORT uvicorn|granian``; on uvicorn with uvloop and httptools, no access log.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field


class Beacon(BaseModel):
    model_config = ConfigDict(extra="allow")

    client_id: int = Field(ge=0, le=2**32 - 1)
    event: str = "page"
    event_id: str = Field(default="", pattern=r"^([0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25})?$")
    cid: str = ""
    did: str = ""
    ts: int | None = None
    url: str = ""
    referrer: str = ""
    title: str = ""
    lang: str = ""
    screen: str = ""
    user_id: str | int = ""
    email_hash: str = Field(default="", pattern=r"^([0-9a-fA-F]{64})?$")
    value: Decimal | None = None
    currency: str = Field(default="", pattern=r"^([A-Za-z]{3})?$")
    order_id: str | int = ""
    products: list[dict[str, Any]] | None = None
    props: dict[str, Any] | None = None


app = FastAPI(openapi_url=None)


@app.post("/e", status_code=204)
async def post_beacon(beacon: Beacon) -> None:
    pass


if __name__ == "__main__":
    if sys.argv[2] == "granian":
        from bench.peers.on_granian import serve

        serve("bench.peers.fastapi_pydantic:app", int(sys.argv[1]))
    else:
        import uvicorn

        uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
