"""Parts of several commands: options, progress, printed pages, the reference page.

Imported by the commands; imports no command. No public names.
"""
