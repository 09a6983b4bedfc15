"""Policies, and what is drawn on the host for the device to erase and mix."""
