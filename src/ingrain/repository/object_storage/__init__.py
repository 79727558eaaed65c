"""The model repository in object storage: published there, served from a local copy.

::

    <url>/index/format.json                     the format; without it the repository counts as gone
    <url>/index/models/<key>/manifest.json      a model exists if it has this object; written last
    <url>/index/custom/<key>/source.json        the same for files of a custom model
    <url>/index/loaded/<key>.json               a model that should be loaded, one object each
    <url>/objects/{models,custom}/<key>/<sha256>    their files
    <url>/claims/<name>/<number>                locks between servers (claims.py)

One listing of ``index`` tells a server all changes (``mirror.py``).
"""
