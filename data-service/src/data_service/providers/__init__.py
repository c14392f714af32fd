"""Where bars come from: files, Yahoo, crypto exchanges, and what is stored already, played again."""
