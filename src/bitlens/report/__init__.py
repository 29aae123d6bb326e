"""The report: store to sections of parts, parts to one page, Markdown and pictures."""
