"""An OpenAI-compatible streaming gateway for Z.ai's GLM models."""

__all__ = ["__version__"]

__version__ = "0.2.0"
