"""What the site needs beyond MkDocs: pages from outside docs/, and doctests shown as the sessions that they are.

The same Markdown is read on a code host and in the site. Here `python` blocks that hold a session, and docstrings'
examples, become `pycon` blocks, and links to files above docs/ lead to their pages.
"""

import ast
import re
from pathlib import Path
from typing import Any

from griffe import Alias, Extension, Module, Object
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FROM_THE_ROOT = {
    "benchmarks/RESULTS.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
TOGETHER = re.compile(r"^( +)(\w+(?:, \w+)+)(: .*(?:\n\1 +.*)*)", re.M)
SESSION = re.compile(r"^( *)>>> .*(?:\n\1(?! *$).+)*", re.M)


def on_files(files: Files, config: Any) -> Files:
    """The pages that lie in the root."""
    for path, page in FROM_THE_ROOT.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page's text, for the site."""
    for path, page in FROM_THE_ROOT.items():
        markdown = markdown.replace(f"](../{path}", f"]({page}")
    return markdown.replace("```python\n>>> ", "```pycon\n>>> ")


def is_code(text: str) -> bool:
    """Whether all of a text is Python: the formatter takes the indentation from a docstring that is all example."""
    try:
        return bool(ast.parse(text).body)
    except SyntaxError:
        return False


class Docstrings(Extension):
    """Public names are found where a file has the same name; docstrings are read as they are meant."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Code gets fences, and `gamma, beta: …` becomes a line for each, which has a type and a default."""
        if obj.docstring is not None:
            text = SESSION.sub(lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", obj.docstring.value)
            text = TOGETHER.sub(
                lambda found: "\n".join(f"{found[1]}{name}{found[3]}" for name in found[2].split(", ")), text
            )
            head, _, rest = text.partition("\n\n")
            obj.docstring.value = f"{head}\n\n```python\n{rest}\n```" if is_code(rest) else text

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """`gammabeta.torch.convert` is the function, as an import gives, and not the file convert.py."""
        for module in pkg.modules.values():
            for name in module.exports or ():
                file = module.members.get(str(name))
                if isinstance(file, Module) and name in file.members:
                    module.set_member(str(name), Alias(str(name), file.members[str(name)], parent=module))
