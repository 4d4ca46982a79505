#include "import/sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "archive/forms.h"
#include "archive/other_forms.h"
#include "base/error.h"
#include "codec/codec.h"
#include "io/posix_directory.h"
#include "io/small_file.h"

namespace weir::importing {

namespace {

using archive::kOtherForms;
using archive::OtherForm;
using codec::Method;
using Type = io::DirectoryEntry::Type;

constexpr std::size_t kNameDigits = 24;
constexpr std::size_t kFolderDigits = 16;
constexpr std::size_t kSha1Digits = 40;
constexpr std::uint64_t kSmallestSegment = 1024 * 1024;
constexpr std::uint64_t kLargestSegment = 1024 * 1024 * 1024;

constexpr OtherForm kEncrypted{"", "encryption", ""};

bool is_digits(std::string_view text, std::string_view digits) {
  return !text.empty() && text.find_first_not_of(digits) == std::string_view::npos;
}
constexpr std::string_view kUpperHex = "0123456789ABCDEF";
constexpr std::string_view kLowerHex = "0123456789abcdef";
constexpr std::string_view kAnyHex = "0123456789ABCDEFabcdef";

/// The folders of Barman and pgBackRest: the first digits of the segments in them.
bool is_folder_name(std::string_view name) {
  return name.size() == kFolderDigits && is_digits(name, kUpperHex);
}

/// "15-1", "9.6-2": pgBackRest's name of a cluster.
bool is_cluster_folder(std::string_view name) {
  const auto dash = name.find('-');
  return dash != std::string_view::npos && is_digits(name.substr(0, dash), "0123456789.") &&
         is_digits(name.substr(dash + 1), "0123456789");
}

/// Its creator meant it as WAL.
bool looks_like_wal(std::string_view name) {
  return (name.size() >= kNameDigits && is_digits(name.substr(0, kNameDigits), kAnyHex)) ||
         (name.size() > 8 && is_digits(name.substr(0, 8), kAnyHex) &&
          name.substr(8).starts_with(".history"));
}

/// How GnuPG's output begins: a session key, encrypted for a key or a passphrase (RFC 9580, 5.1 and
/// 5.3).
bool is_openpgp(std::string_view bytes) {
  return bytes.size() > 3 &&
         ((bytes[0] == '\x84' && bytes[2] == 3) || (bytes[0] == '\x85' && bytes[3] == 3) ||
          (bytes[0] == '\x8c' && bytes[2] == 4));
}

/// The type of a file by its first bytes, if its name does not show it.
struct Content {
  Method method = Method::none;
  const OtherForm* other = nullptr;
};
Content content_of(io::Shelf& shelf, const std::string& name) {
  std::array<std::byte, 10> front{};
  std::size_t size = 0;
  try {
    if (const auto file = shelf.open_bytes(name)) size = file->read_at(0, front);
  } catch (const Error& error) {
    if (!is_of_the_file(error)) throw;
    return {};  // it is reported when it is read
  }
  const std::string_view bytes(reinterpret_cast<const char*>(front.data()), size);
  const auto form = [](std::string_view suffix) {
    return std::find_if(kOtherForms.begin(), kOtherForms.end(),
                        [&](const auto& each) { return each.suffix == suffix; });
  };
  if (bytes.starts_with("\x1f\x8b")) return {Method::gzip};
  if (bytes.starts_with("\x04\x22\x4d\x18")) return {Method::lz4};
  if (bytes.starts_with("\x28\xb5\x2f\xfd")) return {Method::zstd};
  if (bytes.starts_with("BZh")) return {Method::none, form(".bz2")};
  if (bytes.starts_with("\xfd"
                        "7zXZ"))
    return {Method::none, form(".xz")};
  if (bytes.starts_with("\x89"
                        "LZO"))
    return {Method::none, form(".lzo")};
  if (bytes.size() == front.size() && bytes.starts_with("\xff\x06") && bytes.substr(4) == "sNaPpY")
    return {Method::none, form(".snappy")};
  if (bytes.starts_with("Salted__")) return {Method::none, &kEncrypted};
  if (is_openpgp(bytes)) return {Method::none, form(".gpg")};
  return {};
}

/// Files of several folders, or under names that are not their own, as one directory.
class GatheredShelf final : public io::Shelf {
 public:
  struct Place {
    std::shared_ptr<io::Shelf> shelf;
    std::string name;
  };
  GatheredShelf(std::shared_ptr<io::Shelf> top, std::map<std::string, Place> places)
      : top_(std::move(top)), places_(std::move(places)) {}

  const std::string& path() const override { return top_->path(); }
  std::vector<io::DirectoryEntry> list() override {
    std::vector<io::DirectoryEntry> entries;
    for (const auto& [name, place] : places_)
      if (auto entry = find(name)) entries.push_back(std::move(*entry));
    return entries;
  }
  std::vector<io::DirectoryName> names() override {
    std::vector<io::DirectoryName> names;
    for (const auto& [name, place] : places_) names.push_back({name, Type::file});
    return names;
  }
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    const auto place = places_.find(name);
    if (place == places_.end())
      return archive::SegmentFileName::parse(name) ? std::nullopt : top_->find(name);
    auto entry = place->second.shelf->find(place->second.name);
    if (entry) entry->name = name;
    return entry;
  }
  std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override {
    const auto place = places_.find(name);
    return place == places_.end() ? nullptr : place->second.shelf->open_bytes(place->second.name);
  }

 private:
  const std::shared_ptr<io::Shelf> top_;
  const std::map<std::string, Place> places_;
};

}  // namespace

/// The contents of a directory, or of its subdirectories, with the names that import supports.
class Sources::Layout {
 public:
  Layout(std::shared_ptr<io::Shelf> top, std::vector<LeftOut>& left_out)
      : top_(std::move(top)), left_out_(left_out) {}

  /// `tree`: it may be compressed without a suffix, whatever its size.
  void add_folder(const std::shared_ptr<io::Shelf>& folder, bool tree) {
    auto entries = folder->list();
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    for (const auto& entry : entries) add(folder, entry, tree);
  }

  /// As sources, one for each file of a name.
  std::vector<Source> sources() {
    std::vector<Source> sources;
    if (plain_) return {Source{top_, std::nullopt, {}, unreadable_}};
    for (auto& row : rows_)
      sources.push_back({std::make_shared<GatheredShelf>(top_, std::move(row.places)), std::nullopt,
                         std::move(row.originals)});
    if (sources.empty()) sources.push_back({top_});
    sources.front().unreadable = unreadable_;
    return sources;
  }

  /// The one file of that name; nullopt: it was skipped, and reported.
  std::optional<Source> file(const std::string& name) {
    const auto known = by_path_.find(top_->path_of(name));
    if (known == by_path_.end()) {
      if (told_.contains(name)) return std::nullopt;
      return Source{top_, name};
    }
    const auto& [row, listed] = known->second;
    if (plain_) return Source{top_, name};
    auto& shelf = shelves_[row];
    if (!shelf) shelf = std::make_shared<GatheredShelf>(top_, rows_[row].places);
    Source source{shelf, listed};
    if (const auto original = rows_[row].originals.find(listed);
        original != rows_[row].originals.end())
      source.originals.insert(*original);
    return source;
  }

 private:
  struct Row {
    std::map<std::string, GatheredShelf::Place> places{};
    std::map<std::string, Original> originals{};
  };

  void add(const std::shared_ptr<io::Shelf>& folder, const io::DirectoryEntry& entry, bool tree) {
    const auto& name = entry.name;
    if (!looks_like_wal(name)) {
      // (A server's own, and the folders of a tree.)
      if (entry.type == Type::directory && !name.starts_with('.') && name != "archive_status" &&
          name != "summaries" && !(tree && is_folder_name(name)))
        leave_out(*folder, name, Reason::not_asked_for, "it is a directory, and is not searched",
                  "Specify it as a separate source.");
      return;
    }
    if (entry.type != Type::file) {
      leave_out(*folder, name, Reason::not_sound,
                entry.type == Type::directory ? "it is a directory, but a file was expected"
                                              : "it is not a regular file",
                "No file can be read there. Check that the file system is mounted.");
      left_out_.back().no_source = true;
      return;
    }
    // (WAL-G's: the blocks that 16 segments change.)
    if (archive::is_backup_history_name(name) || name.find("_delta") == kNameDigits) return;
    auto rest = name.substr(std::min(name.size(), kNameDigits));
    const auto digits = name.substr(0, kNameDigits);
    const bool history = name.size() > 8 && name[8] == '.';
    if (!history && wal::SegmentName::parse(digits)) {
      // NAME[.partial]-SHA1[.gz], NAME.partial.gz
      std::string partial;
      if (rest.starts_with(".partial") && rest.size() > 8) {
        partial = ".partial";
        rest.erase(0, partial.size());
      }
      std::string sha1;
      if (rest.starts_with('-') && rest.size() > kSha1Digits &&
          is_digits(std::string_view(rest).substr(1, kSha1Digits), kLowerHex)) {
        sha1 = rest.substr(1, kSha1Digits);
        rest.erase(0, 1 + kSha1Digits);
      }
      return add_segment(folder, entry, tree, digits, rest + partial, sha1);
    }
    if (archive::parse_history_name(name)) return take(folder, name, name, {});
    tell_unreadable(*folder, name, nullptr);
  }

  void add_segment(const std::shared_ptr<io::Shelf>& folder, const io::DirectoryEntry& entry,
                   bool tree, const std::string& digits, const std::string& rest,
                   const std::string& sha1) {
    auto parsed = archive::SegmentFileName::parse(digits + rest);
    if (!parsed) return tell_unreadable(*folder, entry.name, nullptr);
    const bool segments_size = std::has_single_bit(entry.size) && kSmallestSegment <= entry.size &&
                               entry.size <= kLargestSegment;
    if (tree || !sha1.empty() || parsed->method != Method::none || !segments_size) {
      const auto content = content_of(*folder, entry.name);
      if (content.other != nullptr) return tell_unreadable(*folder, entry.name, content.other);
      if (parsed->method == Method::none) parsed->method = content.method;
    }
    take(folder, entry.name, parsed->to_string(), sha1);
  }

  void take(const std::shared_ptr<io::Shelf>& folder, const std::string& name,
            const std::string& listed, const std::string& sha1) {
    if (folder != top_ || name != listed) plain_ = false;
    std::size_t row = 0;
    while (row < rows_.size() && rows_[row].places.contains(listed)) ++row;
    if (row == rows_.size()) rows_.emplace_back();
    rows_[row].places.emplace(listed, GatheredShelf::Place{folder, name});
    const auto path = folder->path_of(name);
    if (path != top_->path_of(listed) || !sha1.empty())
      rows_[row].originals.emplace(listed, Original{path, sha1});
    if (folder == top_) by_path_.emplace(path, std::pair(row, listed));
  }

  void tell_unreadable(io::Shelf& folder, const std::string& name, const OtherForm* form) {
    for (const auto& each : kOtherForms)
      if (form == nullptr && name.ends_with(each.suffix)) form = &each;
    if (const auto segment = wal::SegmentName::parse(name.substr(0, kNameDigits)))
      unreadable_.push_back(*segment);
    if (form == &kEncrypted)
      leave_out(folder, name, Reason::not_sound, "it is encrypted",
                "Decrypt it with the program that encrypted it (\"pgbackrest archive-get\") into a "
                "separate directory, and specify that directory.");
    else if (form != nullptr)
      leave_out(
          folder, name, Reason::not_sound,
          fmt::format("it is packed by {}, which pgweir does not unpack", form->name),
          fmt::format(
              "Unpack the files with \"{}\" into a separate directory, and specify that directory.",
              form->unpack));
    else
      leave_out(folder, name, Reason::not_sound,
                "its name is not that of a segment or a timeline history",
                "Import recognizes files by name: 24 hexadecimal digits in upper case, optionally "
                "with .partial, .gz, .lz4 or .zst, or 00000002.history.");
  }

  void leave_out(io::Shelf& folder, const std::string& name, Reason reason, std::string what,
                 std::string hint) {
    if (&folder == top_.get()) told_.insert(name);
    left_out_.push_back({folder.path_of(name), reason, std::move(what), std::move(hint)});
  }

  const std::shared_ptr<io::Shelf> top_;
  std::vector<LeftOut>& left_out_;
  bool plain_ = true;  ///< all of it is in one directory, under its own names
  std::vector<Row> rows_;
  std::map<std::size_t, std::shared_ptr<GatheredShelf>> shelves_;
  /// For files of the top directory: where they are in rows_.
  std::map<std::string, std::pair<std::size_t, std::string>> by_path_;
  std::vector<wal::SegmentName> unreadable_;
  std::set<std::string> told_;
};

std::shared_ptr<io::Shelf> Sources::open(const std::string& path) {
  std::shared_ptr<io::Shelf> shelf = io::open_existing_directory(path);
  if (is_archive(*shelf))
    throw Error(ErrorKind::usage, "this is the archive itself").with("path", path);
  return shelf;
}

bool Sources::is_archive(io::Shelf& shelf) {
  const auto theirs = io::identity_of_directory(shelf);
  const auto ours = io::identity_of_directory(archive_);
  return theirs && ours && theirs->device == ours->device && theirs->inode == ours->inode;
}

void Sources::no_source(const std::string& path, std::string what, std::string hint) {
  left_out_.push_back({path, Reason::not_sound, std::move(what), std::move(hint)});
  left_out_.back().no_source = true;
}

void Sources::add(const std::string& path) {
  switch (io::type_of(path)) {
    case io::PathType::nothing:
      return no_source(path, "there is no such file or directory",
                       "Check the path, that the target of a symbolic link exists, and that the "
                       "file system is mounted.");
    case io::PathType::other:
      return no_source(path, "it is neither a file nor a directory");
    case io::PathType::directory: {
      auto bare = path;
      while (bare.size() > 1 && bare.ends_with('/')) bare.pop_back();
      const auto name = bare.substr(bare.rfind('/') + 1);
      if (wal::SegmentName::parse(name))
        return no_source(path, "it is a directory, but a file was expected");
      return add_directory(path);
    }
    case io::PathType::file:
      return add_file(path);
  }
}

void Sources::add_file(const std::string& path) {
  const auto slash = path.rfind('/');
  const auto directory =
      slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
  const auto name = slash == std::string::npos ? path : path.substr(slash + 1);
  auto& layout = layouts_[directory];
  if (!layout) {
    const auto shelf = open(directory);
    layout = std::make_shared<Layout>(shelf, unasked_);
    layout->add_folder(shelf, false);
  }
  if (auto source = layout->file(name)) {
    sources_.push_back(std::move(*source));
    return;
  }
  const auto told = std::find_if(unasked_.begin(), unasked_.end(), [&](const LeftOut& each) {
    return each.path.size() > name.size() && each.path.ends_with("/" + name) &&
           each.path.size() <= directory.size() + 1 + name.size();
  });
  PGWEIR_CHECK(told != unasked_.end());
  no_source(path, told->what, told->hint);
}

void Sources::add_directory(const std::string& path) {
  const auto shelf = open(path);
  std::vector<std::string> folders;
  std::vector<std::string> clusters;
  std::vector<std::string> unsorted;
  std::optional<std::string> below;
  for (const auto& entry : shelf->names()) {
    if (entry.type != Type::directory) continue;
    if (is_folder_name(entry.name)) folders.push_back(entry.name);
    if (is_cluster_folder(entry.name)) clusters.push_back(entry.name);
    if (entry.name == "wal_005") below = entry.name;
    if (entry.name == "wals") below = entry.name;
    if (entry.name == "pg_wal") below = entry.name;  // of a data directory, or of a base backup
    if (entry.name == "incoming" || entry.name == "streaming") unsorted.push_back(entry.name);
  }
  if (folders.empty() && below) {
    // First the WAL that Barman has received, and may move into wals meanwhile.
    for (const auto& folder : unsorted) {
      const auto received = io::open_existing_directory(shelf->path_of(folder));
      const auto names = received->names();
      if (!is_archive(*received) && std::any_of(names.begin(), names.end(), [](const auto& each) {
            return looks_like_wal(each.name);
          }))
        add_directory(received->path());
    }
    return add_directory(shelf->path_of(*below));
  }
  if (folders.empty() && clusters.size() == 1)
    return add_directory(shelf->path_of(clusters.front()));
  std::sort(folders.begin(), folders.end());
  std::sort(clusters.begin(), clusters.end());
  if (folders.empty() && clusters.size() > 1)
    return no_source(path, "it contains WAL of several clusters",
                     fmt::format("Specify the directory of this archive's cluster, for example {}.",
                                 shelf->path_of(clusters.back())));
  Layout layout(shelf, left_out_);
  const auto slash = path.find_last_not_of('/');
  const auto bare = path.substr(0, slash == std::string::npos ? 1 : slash + 1);
  const bool tree = !folders.empty() || is_folder_name(bare.substr(bare.rfind('/') + 1));
  layout.add_folder(shelf, tree);
  for (const auto& folder : folders) layout.add_folder(open(shelf->path_of(folder)), true);
  for (auto& source : layout.sources()) sources_.push_back(std::move(source));
}

}  // namespace weir::importing
