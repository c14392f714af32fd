"""The bar store: symbols, bars, adjustment, live bars, data versions."""
