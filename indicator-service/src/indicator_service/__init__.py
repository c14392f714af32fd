"""The indicator catalogue and every computation on bars."""
