"""All settings of the server in one frozen tree.

A setting comes from its flag, else from the environment (``OFFHOOK_`` and its name), else from the TOML file, else it
has its default. What nobody knows is refused: a misspelt setting never passes for a default one.
"""

from offhook.config.load import ENV_PREFIX as ENV_PREFIX
from offhook.config.load import flag_of as flag_of
from offhook.config.load import load_config as load_config
from offhook.config.tree import SETTINGS as SETTINGS
from offhook.config.tree import Config as Config
from offhook.config.tree import ProjectConfig as ProjectConfig
from offhook.config.value import Address as Address
