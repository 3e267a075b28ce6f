"""Logging in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from dashboards.guard import Door
from dashboards.page import Page
from dashboards.read_model import ReadModel
from dashboards.sessions import COOKIE, HOLDS_S


def _place(asked: str) -> str:
    """Where to go on: a path of this site, else the first page."""
    inside = asked.startswith("/") and not asked.startswith(("//", "/\\"))
    return asked if inside and asked.isprintable() else "/"


def router(door: Door, read: ReadModel) -> APIRouter:
    """The routes, which do nothing where no accounts are configured."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/login")
    def ask(request: Request, next: str = "/") -> Response:  # noqa: A002 (the field's usual name)
        if door.accounts is None:
            return RedirectResponse("/", status_code=303)
        return Page(read, request).render("login.html", goal=_place(next), account="", fault="")

    @routes.post("/login")
    def begin(
        request: Request,
        name: Annotated[str, Form(max_length=64)],
        password: Annotated[str, Form(max_length=1024)],
        next: Annotated[str, Form()] = "/",  # noqa: A002 (the field's usual name)
    ) -> Response:
        if door.accounts is None:
            return RedirectResponse("/", status_code=303)
        page = Page(read, request)
        goal = _place(next)
        guesser = f"{name} {request.client.host if request.client else ''}"
        if door.sessions.must_wait(guesser):
            return page.render(
                "login.html", 429, goal=goal, account=name, fault=page.t("login_wait")
            )
        who = door.accounts.by_password(name, password)
        if who is None:
            door.sessions.failed(guesser)
            return page.render(
                "login.html", 401, goal=goal, account=name, fault=page.t("login_refused")
            )
        answer = RedirectResponse(goal, status_code=303)
        answer.set_cookie(
            COOKIE,
            door.sessions.begin(who.name),
            max_age=HOLDS_S,
            httponly=True,
            secure=door.secure,
            samesite="strict",
        )
        return answer

    @routes.post("/logout")
    def end(request: Request) -> Response:
        door.sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    return routes
