"""The report page: sentences, tables and coloured text as HTML."""
