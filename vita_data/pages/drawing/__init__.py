"""Building blocks of pages: HTML, tables, line charts and bars as inline SVG."""
