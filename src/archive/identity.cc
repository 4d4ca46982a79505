#include "archive/identity.h"

#include <algorithm>
#include <span>
#include <vector>

#include "archive/content.h"
#include "archive/forms.h"
#include "base/error.h"
#include "wal/page.h"

namespace weir::archive {

namespace {

constexpr std::size_t kNewest = 16;  ///< files that may be damaged before it is too much

/// The identity in the first page of one file.
struct Finding {
  std::optional<Identity> identity;
  std::string wrong;  ///< why there is no identity; empty: nothing was written there yet
};

Finding identify(io::Shelf& directory, const SegmentFileName& name);

std::string path_of(io::Shelf& directory, const SegmentFileName& name) {
  return directory.path() + "/" + name.to_string();
}

}  // namespace

std::optional<Identity> read_identity(io::Shelf& directory, const Listing& listing) {
  std::size_t broken = 0;
  std::string first_wrong;
  for (auto entry = listing.segments.rbegin(); entry != listing.segments.rend(); ++entry) {
    Finding finding = identify(directory, entry->name);
    if (finding.identity) return finding.identity;
    if (finding.wrong.empty()) continue;
    if (first_wrong.empty()) first_wrong = entry->name.to_string() + ": " + finding.wrong;
    if (++broken == kNewest) break;
  }
  if (broken == 0) return std::nullopt;
  throw Error(ErrorKind::damage,
              "cannot determine the archive's cluster: no segment starts with a valid page header")
      .with("directory", directory.path())
      .with("files looked at", broken)
      .with("newest", first_wrong)
      .hint(
          "An archive that may belong to another cluster is neither written nor restored from. "
          "Check the newest files with pg_waldump; move them away, or use another directory.");
}

void require_same_cluster(const Identity& found, std::uint64_t server_system_identifier,
                          wal::SegmentSize server_segment_size, const std::string& path) {
  if (found.system_identifier != server_system_identifier)
    throw Error(ErrorKind::conflict, "the archive holds WAL of another cluster")
        .with("directory", path)
        .with("system identifier in the archive", found.system_identifier)
        .with("of the server", server_system_identifier)
        .with("read from", found.file)
        .hint(
            "Connect to the right server, or give this one an empty directory. A new initdb or a "
            "major upgrade creates a different cluster, even if it has the same name.");
  if (found.segment_size != server_segment_size)
    throw Error(ErrorKind::conflict, "the archive holds WAL of another segment size")
        .with("directory", path)
        .with("segment size in the archive", found.segment_size.bytes())
        .with("of the server", server_segment_size.bytes())
        .with("read from", found.file)
        .hint(
            "wal_segment_size was changed (pg_resetwal): use an empty directory, and take a new "
            "base backup.");
}

void require_not_a_server_directory(io::Shelf& directory) {
  if (directory.find("PG_VERSION"))
    throw Error(ErrorKind::conflict, "this is a server's data directory, not an archive")
        .with("directory", directory.path())
        .hint("Use a separate directory, preferably on a different disk from the server's.");
  const auto status = directory.find("archive_status");
  if (status && status->type == io::DirectoryEntry::Type::directory)
    throw Error(ErrorKind::conflict, "this is a server's pg_wal directory, not an archive")
        .with("directory", directory.path())
        .hint("Use a separate directory: the server recycles and removes files in this one.");
}

void require_some_wal(const Listing& listing, const std::string& path, const std::string& nearby) {
  if (!listing.segments.empty() || !listing.histories.empty()) return;
  throw Error(ErrorKind::conflict, "there is no WAL segment in this directory")
      .with("directory", path)
      .hint("Check that this is the archive directory, and that its file system is mounted. " +
            nearby);
}

namespace {

Finding identify(io::Shelf& directory, const SegmentFileName& listed) {
  auto name = listed;
  auto file = directory.open_bytes(name.to_string());
  // Since it was listed it may have been completed, or compressed.
  for (const auto& present : finished_names(listed.segment)) {
    if (file) break;
    name = present;
    file = directory.open_bytes(name.to_string());
  }
  if (!file) return {};  // removed
  std::vector<std::byte> front;
  std::string broken;
  try {
    read_content(*file, name.method, path_of(directory, name), [&](auto raw) {
      const auto count = std::min(raw.size(), wal::kLongHeaderSize - front.size());
      front.insert(front.end(), raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(count));
      return front.size() < wal::kLongHeaderSize;
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    // A compressed .partial ends where its writer was stopped; the rest of it may do.
    if (!name.partial) broken = error.message();
  }
  const bool empty =
      std::all_of(front.begin(), front.end(), [](std::byte byte) { return byte == std::byte{0}; });
  if (front.size() < wal::kLongHeaderSize || empty) {
    if (name.partial) return {};
    return {std::nullopt, broken.empty() ? "it is empty" : broken};
  }

  // The stream may stop, or the power fail, in the middle of the first header. Its last field, the
  // page size, is never 0.
  const auto page_size = std::span(front).last(4);
  if (name.partial && std::all_of(page_size.begin(), page_size.end(),
                                  [](std::byte byte) { return byte == std::byte{0}; }))
    return {};

  const auto header = wal::decode_page_header(front);
  if (!header || !header->long_header)
    return {std::nullopt, "it does not begin with a long page header"};
  if (!wal::major_version_of_magic(header->magic) && !wal::magic_is_newer_than_known(header->magic))
    return {std::nullopt, fmt::format("unknown page magic 0x{:04X}", header->magic)};
  const auto size = wal::SegmentSize::of(header->segment_size);
  if (!size) return {std::nullopt, fmt::format("invalid segment size {}", header->segment_size)};
  if (!name.segment.fits(*size) || header->address != name.segment.start(*size))
    return {std::nullopt, fmt::format("its first page has the address {}", header->address)};
  if (header->page_size != wal::kPageSize)
    throw Error(ErrorKind::conflict, "the archive holds WAL with pages of another size")
        .with("path", path_of(directory, name))
        .with("page size", header->page_size)
        .with("supported", wal::kPageSize)
        .hint("The server was built with a different XLOG_BLCKSZ (--with-wal-blocksize).");
  return {Identity{header->system_identifier, *size, name.to_string()}, {}};
}

}  // namespace

}  // namespace weir::archive
