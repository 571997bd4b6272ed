"""How early each family of signals tells a label, by how much more than what is known without the internals."""
