"""Two ordinary applications that do a webhook's job with a database: FastAPI + PostgreSQL, Flask + SQLite.

Each checks the signature with the platform's own library, looks the pair up, records the interaction (once a CallSid),
restarts the session's idle clock, commits, and answers TwiML. They have no pool, no conflict rules, no expiry.
"""

import asyncio
import os
import signal
import socket
import sqlite3
import tempfile
import time
import uuid
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
import flask
import uvicorn
from fastapi import FastAPI, Request, Response
from gunicorn.app.base import BaseApplication
from twilio.request_validator import RequestValidator

from benchmarks.engines import person
from benchmarks.peers import Ready, Routes, until_told
from engine.channels.twiml.answers import REJECT, dial

PORT = ("postgresql", "port")
"""Key of the routes under which the port of PostgreSQL is."""
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - made up
PUBLIC_URL = "https://masks.example.com/inbound/voice"

_SCHEMA = (
    "CREATE TABLE sessions (sid TEXT PRIMARY KEY, idle_since DOUBLE PRECISION NOT NULL)",
    """
    CREATE TABLE bindings (
        identifier TEXT, proxy TEXT, session_sid TEXT NOT NULL, partner TEXT NOT NULL, partner_proxy TEXT NOT NULL,
        PRIMARY KEY (identifier, proxy)
    )
    """,
    """
    CREATE TABLE interactions (
        sid TEXT PRIMARY KEY, session_sid TEXT NOT NULL, proxy TEXT NOT NULL, call_sid TEXT NOT NULL UNIQUE,
        status TEXT NOT NULL, date_created DOUBLE PRECISION NOT NULL
    )
    """,
    "CREATE INDEX interactions_by_session ON interactions (session_sid)",
)
_FIND = "SELECT session_sid, partner, partner_proxy FROM bindings WHERE identifier = {} AND proxy = {}"
_RECORD = "INSERT INTO interactions VALUES ({}, {}, {}, {}, 'ringing', {}) ON CONFLICT (call_sid) DO NOTHING"
_TOUCH = "UPDATE sessions SET idle_since = {} WHERE sid = {}"
_BOUND = ("$1", "$2", "$3", "$4", "$5")
_MARKS = ("?",) * 5


def _bindings(routes: Routes) -> list[tuple[str, str, str, str, str]]:
    """Return rows of sessions whose partners stand side by side."""
    pairs = [pair for pair in routes if pair != PORT]
    rows = []
    for index in range(0, len(pairs), 2):
        sid = f"KC{index:032x}"
        first, second = pairs[index], pairs[index + 1]
        rows += [(*first, sid, *second), (*second, sid, *first)]
    return rows


def _is_signed(validator: RequestValidator, fields: Any, signature: str) -> bool:  # noqa: ANN401 - form fields
    return bool(validator.validate(PUBLIC_URL, fields, signature))


async def serve_fastapi_postgres(told: Connection, routes: Routes) -> None:
    """Serve with FastAPI on uvicorn, asyncpg and PostgreSQL."""
    address = f"postgresql://postgres@127.0.0.1:{routes[PORT]}/postgres"
    pool = await asyncpg.create_pool(address, min_size=16, max_size=16)
    await _fill_postgres(pool, routes)
    app, validator = FastAPI(), RequestValidator(TOKEN)

    @app.post("/inbound/voice")
    async def voice(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        if not _is_signed(validator, form, request.headers.get("x-twilio-signature", "")):
            return Response(status_code=403)
        document, now = REJECT, time.time()  # noqa: TID251 - an ordinary application
        async with pool.acquire() as connection, connection.transaction():
            found = await connection.fetchrow(_FIND.format(*_BOUND), form["From"], form["To"])
            if found is not None:
                session_sid, partner, partner_proxy = found
                row = (f"KI{uuid.uuid4().hex}", session_sid, form["To"], form["CallSid"], now)
                await connection.execute(_RECORD.format(*_BOUND), *row)
                await connection.execute(_TOUCH.format(*_BOUND), now, session_sid)
                document = dial(to=partner, caller_id=partner_proxy, status_url="")
        return Response(document, media_type="text/xml")

    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
    task = asyncio.create_task(server.serve(sockets=[bound]))
    told.send(Ready(bound.getsockname()[1], "AC" + "0" * 32, TOKEN))
    await until_told(told)
    server.should_exit = True
    await task
    await pool.close()


async def _fill_postgres(pool: Any, routes: Routes) -> None:  # noqa: ANN401 - asyncpg ships no types
    rows = _bindings(routes)
    async with pool.acquire() as connection:
        for statement in _SCHEMA:
            await connection.execute(statement)
        await connection.copy_records_to_table("bindings", records=rows)
        sids = [(sid, 0.0) for sid in {row[2] for row in rows}]
        await connection.copy_records_to_table("sessions", records=sids)
        await connection.execute("ANALYZE")


def flask_app(database: Path) -> flask.Flask:
    """Return an application over a database that is filled."""
    app, validator = flask.Flask("masks"), RequestValidator(TOKEN)

    def connection() -> sqlite3.Connection:
        if "db" not in app.extensions:  # one thread serves
            app.extensions["db"] = sqlite3.connect(database, check_same_thread=False)
            app.extensions["db"].execute("PRAGMA synchronous=FULL")
        found: sqlite3.Connection = app.extensions["db"]
        return found

    @app.post("/inbound/voice")
    def voice() -> flask.Response:
        form = flask.request.form
        if not _is_signed(validator, form, flask.request.headers.get("X-Twilio-Signature", "")):
            return flask.Response(status=403)
        document, now, db = REJECT, time.time(), connection()  # noqa: TID251 - an ordinary application
        found = db.execute(_FIND.format(*_MARKS), (form["From"], form["To"])).fetchone()
        if found is not None:
            session_sid, partner, partner_proxy = found
            row = (f"KI{uuid.uuid4().hex}", session_sid, form["To"], form["CallSid"], now)
            db.execute(_RECORD.format(*_MARKS), row)
            db.execute(_TOUCH.format(*_MARKS), (now, session_sid))
            db.commit()
            document = dial(to=partner, caller_id=partner_proxy, status_url="")
        return flask.Response(document, mimetype="text/xml")

    return app


class _Gunicorn(BaseApplication):  # type: ignore[misc] # gunicorn ships no types
    """gunicorn with one worker of one thread, keep-alive."""

    def __init__(self, app: flask.Flask, descriptor: int) -> None:
        self._app = app
        self._descriptor = descriptor
        super().__init__()

    def load_config(self) -> None:
        """Take our settings."""
        chosen = {"bind": f"fd://{self._descriptor}", "worker_class": "gthread", "workers": 1, "threads": 1}
        for name, value in {**chosen, "keepalive": 75, "loglevel": "error", "worker_connections": 1_000}.items():
            self.cfg.set(name, value)

    def load(self) -> flask.Flask:
        """Return the application."""
        return self._app


async def serve_flask_sqlite(told: Connection, routes: Routes) -> None:
    """Serve with Flask on gunicorn and SQLite, WAL and FULL; gunicorn is a process of its own below this one."""
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory, "masks.db")
        _fill_sqlite(database, routes)
        bound = socket.create_server(("127.0.0.1", 0))
        bound.set_inheritable(True)
        child = os.fork()
        if child == 0:
            _Gunicorn(flask_app(database), bound.fileno()).run()
            os._exit(0)
        told.send(Ready(bound.getsockname()[1], "AC" + "0" * 32, TOKEN))
        await until_told(told)
        os.kill(child, signal.SIGTERM)
        await asyncio.to_thread(os.waitpid, child, 0)


def _fill_sqlite(database: Path, routes: Routes) -> None:
    rows = _bindings(routes)
    db = sqlite3.connect(database)
    db.execute("PRAGMA journal_mode=WAL")
    for statement in _SCHEMA:
        db.execute(statement)
    db.executemany("INSERT INTO bindings VALUES (?, ?, ?, ?, ?)", rows)
    db.executemany("INSERT INTO sessions VALUES (?, 0)", [(sid,) for sid in {row[2] for row in rows}])
    db.commit()
    db.close()


def first_pairs(count: int, proxies: int) -> Routes:
    """Return pairs of people and proxy numbers, partners side by side."""
    return {(person(index), f"+1415555{index % proxies:04d}"): "" for index in range(count)}
