"""The page about finished runs: what their folders say, drawn and put into one HTML file. Imports engine and below."""
