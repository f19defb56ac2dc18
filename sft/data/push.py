"""A dataset folder to the Hugging Face hub, as it lies. Tokens come from the environment or the hub's own login."""

from __future__ import annotations

from pathlib import Path

from ratoon.errors import DataError, MissingExtra, RatoonError


def push(folder: Path, repo: str, *, private: bool = True) -> str:
    """Upload the files of `folder` to the dataset repository `repo`, made where there is none; its address.

    Raises DataError on a folder without a card or with a link that leads out of it, MissingExtra, RatoonError where the hub
    cannot be reached or refuses.
    """
    if not (folder / "README.md").exists():
        raise DataError(f"{folder} has no card (README.md)", "push a dataset folder, or one that `ratoon export` wrote")
    home = folder.resolve()
    if strange := next((path for path in sorted(folder.rglob("*")) if not path.resolve().is_relative_to(home)), None):
        raise DataError(f"{strange} is a link to {strange.resolve()}", "only files of the folder are pushed: remove the link")
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingExtra("huggingface_hub", "tasks") from None
    try:
        api = HfApi()
        address = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder, commit_message="ratoon export --push")
    except Exception as error:  # the hub's errors and those of its network library share no base
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        hint = "check the network, HF_ENDPOINT and HF_TOKEN (or `hf auth login`); nothing here was changed"
        raise RatoonError(f"cannot push to {repo}: {type(error).__name__}: {reason}", hint) from None
    return str(address)
