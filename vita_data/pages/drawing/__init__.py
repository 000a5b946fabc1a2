"""Pieces of pages: HTML, tables, line charts and bars as inline SVG."""
