"""offhook: the OpenAI Realtime Calls API as software that you run yourself."""

from offhook._version import __version__

__all__ = ["__version__"]
