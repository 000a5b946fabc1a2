"""Typed settings: dataclasses from text and JSON, and checks of their fields.

`KEY=VALUE` words or stored JSON come in; frozen dataclasses or a RequestError that names the field come out.
"""
