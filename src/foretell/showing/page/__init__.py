"""The HTML report page: sentences, tables and coloured text."""
