#include "archive/history_store.h"

#include <chrono>

#include "archive/content.h"
#include "archive/forms.h"
#include "archive/home.h"
#include "archive/resume.h"
#include "base/error.h"
#include "wal/segment.h"

namespace weir::archive {

namespace {

/// "cp" writes to the final name.
constexpr std::chrono::seconds kStillCopied(10);

std::optional<std::string> read_form(io::Shelf& directory, const std::string& name,
                                     codec::Method method) {
  const auto file = directory.open_bytes(name);
  if (!file) return std::nullopt;
  std::string content;
  read_content(*file, method, directory.path() + "/" + name, [&](auto raw) {
    content.append(reinterpret_cast<const char*>(raw.data()), raw.size());
    return true;
  });
  return content;
}

}  // namespace

std::optional<std::string> read_history(io::Shelf& directory, wal::TimelineId timeline) {
  const auto raw = wal::history_name(timeline);
  for (const auto method : kForms)
    if (auto content = read_form(directory, raw + std::string(codec::suffix(method)), method))
      return content;
  return std::nullopt;
}

bool store_history(io::Directory& directory, wal::TimelineId timeline, std::string_view content) {
  const std::string name = wal::history_name(timeline);
  const std::string path = directory.path() + "/" + name;
  const auto offered = wal::TimelineHistory::parse(timeline, content);
  if (!offered)
    throw Error(ErrorKind::protocol, "the server sent a timeline history that cannot be read")
        .with("timeline", timeline)
        .hint("WAL of a timeline is not archived without its history file.");

  if (const auto held = read_history(directory, timeline)) {
    const auto parsed = wal::TimelineHistory::parse(timeline, *held);
    const auto now = std::chrono::system_clock::now();
    const bool may_be_cut_off = !parsed || (*parsed != *offered && content.starts_with(*held));
    if (may_be_cut_off && was_changed_within(directory, name, kStillCopied, now))
      throw Error(ErrorKind::retry, "the timeline history is still being copied")
          .with("path", path)
          .hint("Another program has just written to it, and it is not complete yet.");
    if (!parsed)
      throw Error(ErrorKind::damage, "the timeline history in the archive cannot be read")
          .with("path", path)
          .hint("Remove the file: it is then fetched again from the server.");
    if (*parsed != *offered)
      throw Error(ErrorKind::conflict, "the server has another history of this timeline")
          .with("timeline", timeline)
          .with("path", path)
          .hint(
              "Two servers were promoted to the same timeline. Find out which one this archive "
              "follows, and archive the other one into a separate directory.");
    // Another program may have copied it. The one that stored it may have been killed before its
    // sync.
    if (was_changed_within(directory, name, kWrittenBack, now)) sync_if_present(directory, name);
    directory.sync();
    return false;
  }

  // Segments of this timeline may be confirmed from now on: without the name they would be of a
  // timeline of unknown origin after a crash.
  DirectoryHome home(directory);
  try {
    publish_text(home, {.name = name}, content);
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::conflict || !read_history(directory, timeline)) throw;
  }
  // Another program, such as the server's archive_command, has just stored it.
  return store_history(directory, timeline, content);
}

}  // namespace weir::archive
