"""What prepare understood, as one page and one picture: a wrong reading must show at a look."""

from src.reporting.preview.write import write_preview as write_preview
