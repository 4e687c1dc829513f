"""Every error that this package raises on purpose.

Each message is one sentence for a person: what is wrong, where, and what to do.
The command line prints it after ``error:`` and exits with ``exit_code``.
"""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that says which of the ``known`` names is most like ``name``."""
    import difflib  # only mistakes need it

    found = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; the nearest one is '{found[0]}'" if found else ""


class MobileYolactError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class OptionError(MobileYolactError):
    """A wrong option, preset, class or model name; the message names the nearest right one."""

    exit_code = 2


class ImageError(MobileYolactError):
    """A picture that cannot be read: missing, truncated, not an image, or too large."""


class LabelError(MobileYolactError):
    """Labels that cannot be read or cannot be trained on."""


class ModelError(MobileYolactError):
    """A model file that is missing, damaged, or not one of ours."""


class ContractError(ModelError):
    """A model file whose contract is missing, of another format version, or inconsistent."""


class NoContractError(ContractError):
    """A model file that says nothing about itself: one of another project, or a damaged one."""


class ParityError(MobileYolactError):
    """An artefact whose outputs differ from its reference by more than the stated bound."""


class TrainingError(MobileYolactError):
    """A training run that cannot start or go on, for example after a non-finite loss."""
