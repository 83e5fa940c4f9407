"""Where the course is published: links to run a notebook and to suggest an edit. Without an address there are none.

The address is MANY_MODELS_REPOSITORY (https://host/owner/name), else the git remote "origin" if that is such an
address. MANY_MODELS_JUPYTERHUB adds a hub's button, MANY_MODELS_SITE is the address of the book itself, for the
picture that other sites show with a link to it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def repository() -> str:
    """https://host/owner/name, or "" if there is none."""
    asked = os.environ.get("MANY_MODELS_REPOSITORY", "").strip()
    if not asked:
        command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, encoding="utf-8").stdout.strip()
        except OSError:  # no git here
            return ""
    found = re.fullmatch(r"(?:https?://(?:[^/@]+@)?|(?:ssh://)?git@)([\w.-]+)[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?", asked)
    return f"https://{found[1]}/{found[2]}" if found else ""


def site() -> str:
    """The address of the published book with a slash at its end, or ""."""
    asked = os.environ.get("MANY_MODELS_SITE", "").strip()
    github = re.fullmatch(r"https://github\.com/([^/]+)/([^/]+)", repository())
    address = asked or (f"https://{github[1].lower()}.github.io/{github[2]}" if github else "")
    return address.rstrip("/") + "/" if address else ""


def options() -> dict:
    """What the theme needs for its buttons."""
    address = repository()
    if not address:
        return {}
    buttons = {"notebook_interface": "jupyterlab"}
    if address.startswith("https://github.com/"):
        buttons |= {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}
    if hub := os.environ.get("MANY_MODELS_JUPYTERHUB", "").strip():
        buttons["jupyterhub_url"] = hub
    return {
        "repository_url": address,
        "repository_branch": os.environ.get("MANY_MODELS_BRANCH", "main"),
        "path_to_docs": "",
        "use_repository_button": True,
        "use_edit_page_button": True,
        "launch_buttons": buttons,
    }


def _cards(app, page, template, context, doctree) -> None:
    """Open Graph: the title, what the page is about, and the picture where its address is known."""
    title = re.sub(r"<[^>]+>", "", context.get("title", "")) or "Many Models"
    about = "An interactive course on getting more out of several models than out of the best of them."
    tags = {"og:type": "website", "og:title": title.replace('"', ""), "og:description": about}
    if site():
        tags["og:image"] = f"{site()}_static/card.png"
        tags["og:url"] = f"{site()}{page}.html"
    lines = [f'<meta property="{name}" content="{value}" />' for name, value in tags.items()]
    lines.append(f'<meta name="description" content="{about}" />')
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)


def _only_on_notebooks(app, page, template, context, doctree) -> None:
    """The other pages are made from several files: there is none to edit, and nothing to run."""
    if not page.startswith("notebooks/"):
        dropped = ("launch-buttons", "edit-button", "source-buttons")
        buttons = context.get("header_buttons", [])
        context["header_buttons"] = [one for one in buttons if one.get("label") not in dropped]


def setup(app) -> dict:
    """Register with Sphinx, the last one after the theme has made its buttons."""
    app.connect("html-page-context", _cards)
    app.connect("html-page-context", _only_on_notebooks, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
