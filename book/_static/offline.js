// What a browser does not do for a page on disk.

if (location.protocol === "file:") {
  // Search would fetch the page of each hit, for an excerpt.
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  // A linked notebook would be shown as text: its script hands it over to be saved.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.lk-download");
    if (!link) return;
    event.preventDefault();
    const script = document.createElement("script");
    script.src = `${link.href}.js`;
    script.onload = () => script.remove();
    document.head.append(script);
  });
}

function saveNotebook(name, text) {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(new Blob([text], { type: "application/x-ipynb+json" }));
  link.click();
  URL.revokeObjectURL(link.href);
}
