"""The API's documentation with forms to try it: a page for people, served by each plane at ``/docs``."""
