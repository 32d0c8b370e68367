"""Django's tasks (`django.tasks` of Django 6, or the package django-tasks before) kept in a queue of lowq.

::

    INSTALLED_APPS = [..., "lowq.contrib.django"]       # for manage.py lowq_worker
    TASKS = {
        "default": {
            "BACKEND": "lowq.contrib.django.LowqBackend",
            "OPTIONS": {"location": BASE_DIR / "jobs.db"},
        }
    }
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowq.contrib.django.backend import LowqBackend, queue_of, work_of

__all__ = ["LowqBackend", "queue_of", "work_of"]


def __getattr__(name: str) -> Any:
    """Import the backend when it is asked for: Django imports this package before its settings are complete."""
    if name not in __all__:
        raise AttributeError(f"module 'lowq.contrib.django' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("lowq.contrib.django.backend"), name)
