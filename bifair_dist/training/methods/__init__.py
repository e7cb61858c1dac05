"""Methods: what each trains, a file each in `known/`; how to add one: docs/add-a-backbone.md."""
