"""Runs a Conan recipe, each part of Conan's interface that it uses replaced by the least it does.

    python3 run_recipe.py RECIPE_FOLDER WORK VERSION GENERATOR COMPILER

makes the package in WORK/package from what the recipe exports, and prints the folder of the CMake
files that the recipe names.
"""
import fnmatch
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import types

recipe_folder, work = (pathlib.Path(a).resolve() for a in sys.argv[1:3])
version, generator, compiler = sys.argv[3:]


def fail(text):
    sys.exit("conanfile.py: " + text)


class Bag(types.SimpleNamespace):
    """Takes any attribute; `get_safe` as for Conan's settings."""

    def get_safe(self, name):
        return getattr(self, name, None)


class CppInfo(Bag):
    def set_property(self, name, value):
        self.properties[name] = value


class ConanFile:
    def __init__(self):
        self.recipe_folder = str(recipe_folder)
        self.export_sources_folder = str(work / "export")
        self.source_folder = self.export_sources_folder
        self.build_folder, self.package_folder = str(work / "build"), str(work / "package")
        self.folders, self.settings = Bag(), Bag(os="Linux")
        self.info = Bag(clear=lambda: None)
        self.cpp_info = CppInfo(properties={})
        self.required, self.cache_variables = {}, {}

    def requires(self, reference, transitive_headers=False):
        self.required[reference.split("/")[0]] = transitive_headers


class CMakeToolchain:
    def __init__(self, conanfile):
        self.cache_variables = conanfile.cache_variables

    def generate(self):
        pass


class CMakeDeps(CMakeToolchain):
    pass


class CMake:
    def __init__(self, conanfile):
        self.file = conanfile

    def configure(self):
        on_off = [f"-D{k}={'ON' if v else 'OFF'}" for k, v in self.file.cache_variables.items()]
        run = subprocess.run(
            ["cmake", "-G", generator, "-S", self.file.source_folder, "-B", self.file.build_folder,
             f"-DCMAKE_CXX_COMPILER={compiler}", *on_off], capture_output=True, text=True)
        if run.returncode != 0 or "not used by the project" in run.stderr:
            fail("the sources that it exports do not configure: " + run.stdout + run.stderr)

    def install(self, component):
        subprocess.run(["cmake", "--install", self.file.build_folder, "--prefix",
                        self.file.package_folder, "--component", component],
                       check=True, stdout=subprocess.DEVNULL)


def copy(_, pattern, source, to, excludes=()):
    found = 0
    for path in pathlib.Path(source).rglob("*"):
        name = path.relative_to(source).as_posix()
        excluded = any(fnmatch.fnmatch(name, e) for e in [excludes] if e)
        if fnmatch.fnmatch(name, pattern) and not excluded and path.is_file():
            target = pathlib.Path(to) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            found += 1
    if found == 0:
        fail(f"copies {pattern}, which is not there")


modules = {
    "conan": {"ConanFile": ConanFile},
    "conan.tools": {},
    "conan.tools.build": {"check_min_cppstd": lambda _, standard: None},
    "conan.tools.cmake": {"CMake": CMake, "CMakeDeps": CMakeDeps, "CMakeToolchain": CMakeToolchain},
    "conan.tools.files": {"copy": copy, "load": lambda _, path: pathlib.Path(path).read_text()},
}
for module_name, members in modules.items():
    sys.modules[module_name] = types.ModuleType(module_name)
    vars(sys.modules[module_name]).update(members)
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("recipe", recipe_folder / "conanfile.py")
recipe_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe_module)
classes = [c for c in vars(recipe_module).values()
           if isinstance(c, type) and issubclass(c, ConanFile) and c is not ConanFile]
if len(classes) != 1:
    fail(f"expected one recipe, found {len(classes)}")
recipe = classes[0]()

recipe.set_version()
if (recipe.name, recipe.version) != ("sequin", version):
    fail(f"expected sequin {version}, found {recipe.name} {recipe.version}")
recipe.export_sources()
recipe.layout()
if not (recipe_folder / recipe.folders.root / "CMakeLists.txt").is_file():
    fail(f"its root {recipe.folders.root} holds no CMakeLists.txt")
recipe.requirements()
config = (pathlib.Path(recipe.source_folder) / "cmake" / "dependencies.cmake").read_text()
needed = {"Eigen3": "eigen", "xsimd": "xsimd", "nlohmann_json": "nlohmann_json"}
found_by_cmake = set(re.findall(r"find_package\((\w+) CONFIG", config))
if found_by_cmake != set(needed) or recipe.required != {n: True for n in needed.values()}:
    fail(f"requires {recipe.required}, the library {found_by_cmake}")
recipe.package_id()
recipe.validate()
recipe.generate()
recipe.build()
recipe.package()
recipe.package_info()
package = pathlib.Path(recipe.package_folder)
folders = [package / folder for folder in recipe.cpp_info.builddirs]
for path in [package / "licenses" / "LICENSE", *(f / "sequin-config.cmake" for f in folders)]:
    if not path.is_file():
        fail(f"the package has no {path.relative_to(package)}")
print(folders[0])
