"""Puts manifests and recipes into the wheel, where `vita_data.installation` finds them.

They lie beside the packages, because people read and copy them. setuptools has no setting for files from outside of a
package, so pyproject.toml names this class as its `build_py`.
"""

from glob import glob

from setuptools.command.build_py import build_py

_SHIPPED = (("vita_data._manifests", "manifests", "*.toml"), ("vita_model._recipes", "pipelines/recipes", "*.py"))
"""Package in the wheel, folder in the checkout, which files."""


class BuildPy(build_py):
    """The step that copies the packages' files."""

    def _get_data_files(self) -> list[tuple[str, str, str, list[str]]]:
        found: list[tuple[str, str, str, list[str]]] = list(super()._get_data_files())
        for package, folder, pattern in _SHIPPED:
            target = "/".join([self.build_lib, *package.split(".")])
            found.append((package, folder, target, sorted(glob(pattern, root_dir=folder))))
        return found

    def get_source_files(self) -> list[str]:
        """List what an sdist needs: these files and this module too."""
        shipped = [path for _, folder, pattern in _SHIPPED for path in sorted(glob(f"{folder}/{pattern}"))]
        return [*super().get_source_files(), *shipped, "pipelines/packaging.py"]
