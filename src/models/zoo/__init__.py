"""Our own networks: one function each under timm's `@register_model`, in a file here or in PODIUM_HOME/extensions."""

from src.core.registry import import_all, load_extensions


def register_networks() -> None:
    """Make the names of our networks and of the user's known to timm."""
    import_all("src.models.zoo")
    load_extensions()
