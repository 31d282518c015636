"""What a user would write instead, as FastAPI's documentation recommends it: a pydantic model as the body parameter.

It validates the same beacon and stores nothing, counts nothing, limits nothing.
``python -m bench.peers.fastapi_pydantic PORT uvicorn|granian``
"""

from __future__ import annotations

import importlib
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


@app.post("/batch", status_code=204)
async def post_batch(beacons: list[Beacon]) -> None:
    """A path of its own: FastAPI takes one beacon or a list, and a union of both would cost both."""


if __name__ == "__main__":
    importlib.import_module(f"bench.peers.on_{sys.argv[2]}").serve("bench.peers.fastapi_pydantic:app", int(sys.argv[1]))
