"""The queue over HTTP: pages for people, an interface for programs. `create_app()` is a WSGI application (Flask)."""

from lowq.web.app import create_app
from lowq.web.settings import Settings, SettingsError, load

__all__ = ["Settings", "SettingsError", "create_app", "load"]
