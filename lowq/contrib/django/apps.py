"""The application, as INSTALLED_APPS has it: it brings `manage.py lowq_worker`, and no models."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

from lowq.contrib.django.tasks import BaseTaskBackend


class LowqConfig(AppConfig):  # type: ignore[misc]  # Django ships no types
    """lowq in a Django project."""

    name = "lowq.contrib.django"
    label = "lowq"
    verbose_name = "lowq"

    def ready(self) -> None:
        """`manage.py check` asks the backends of TASKS, which Django does not always see to by itself."""
        package = BaseTaskBackend.__module__.removesuffix(".backends.base")
        import_module(f"{package}.checks")
