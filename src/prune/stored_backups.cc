#include "prune/stored_backups.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/for_each_index.h"
#include "base/text.h"
#include "prune/barman_backup.h"
#include "prune/walg_backup.h"
#include "store/listing.h"

namespace weir::prune {

namespace {

using State = FoundBackup::State;

/// Largest object that describes a backup. Old versions of WAL-G list every file there.
constexpr std::uint64_t kLargest = std::uint64_t{64} << 20;
constexpr std::string_view kInfo = "backup.info";
constexpr std::string_view kKeep = "annotations/keep";
constexpr std::string_view kSentinel = "_backup_stop_sentinel.json";
constexpr std::string_view kMetadata = "metadata.json";
constexpr std::string_view kPartitions = "tar_partitions/";

/// What the listing says of one backup.
struct Objects {
  std::uint64_t bytes = 0;
  bool described = false;  ///< the object that is stored last is there
  bool beside = false;     ///< likewise Barman's annotation, or WAL-G's metadata
  /// The numbers of the parts of tar files: of "data", or a tablespace's OID; of WAL-G of "tar".
  std::map<std::string, std::set<unsigned>> archives{};
};

/// A part of a tar file: "data.tar.gz" is number 0 of "data", and "data_0001.tar" number 1
/// (_build_dest_name() and get_backup_files() in Barman's cloud.py).
struct TarPart {
  std::string name;
  unsigned number = 0;
};
std::optional<TarPart> tar_part_of(std::string_view file) {
  const auto end = file.find_first_of("._");
  const auto tar = end == std::string_view::npos ? end : file.find(".tar", end);
  if (tar == std::string_view::npos) return std::nullopt;
  TarPart part{.name = std::string(file.substr(0, end))};
  if (tar == end) return part;
  const auto number = parse_number<unsigned>(file.substr(end + 1, tar - end - 1));
  if (!number) return std::nullopt;
  part.number = *number;
  return part;
}

/// How Barman calls the first part that is missing; nullopt: none is, as far as the others show.
std::optional<std::string> missing_part(const std::string& name, const std::set<unsigned>* parts) {
  unsigned next = 0;
  if (parts != nullptr)
    for (const auto number : *parts) {
      if (number != next) break;
      ++next;
    }
  if (next > 0 && next == parts->size()) return std::nullopt;
  return next == 0 ? name + ".tar" : fmt::format("{}_{:04}.tar", name, next);
}

class StoreFinder {
 public:
  StoreFinder(store::ObjectStore& store, const store::Layout& layout,
              std::optional<wal::SegmentSize> size, const store::Patience& patience)
      : store_(store), layout_(layout), size_(size), patience_(patience) {}

  std::vector<FoundBackup> run(std::size_t jobs) {
    store::for_each_object(store_, prefix_, patience_, [&](const store::ObjectEntry& object) {
      const auto name = std::string_view(object.key).substr(prefix_.size());
      if (is_barman_)
        take_barman(name, object.size);
      else
        take_walg(name, object.size);
    });
    std::vector<std::pair<std::string, Objects>> all(objects_.begin(), objects_.end());
    std::vector<std::optional<FoundBackup>> read(all.size());
    std::vector<std::string> parents(all.size());
    for_each_index(all.size(), jobs, [&](std::size_t i) {
      read[i] = look_at(all[i].first, all[i].second, parents[i]);
      return true;
    });
    for (std::size_t i = 0; i < all.size(); ++i)
      if (read[i] && !parents[i].empty()) add_parent(*read[i], parents[i], read);
    std::vector<FoundBackup> found;
    for (auto& each : read)
      if (each) found.push_back(std::move(*each));
    return found;
  }

 private:
  /// ID/backup.info, ID/data.tar.gz, ID/16387.tar, ID/annotations/keep
  void take_barman(std::string_view name, std::uint64_t bytes) {
    const auto slash = name.find('/');
    if (slash == std::string_view::npos) return;
    const auto file = name.substr(slash + 1);
    const auto part = tar_part_of(file);
    if (file != kInfo && file != kKeep && !part) return;
    auto& objects = objects_[std::string(name.substr(0, slash))];
    objects.bytes += bytes;
    if (file == kInfo) objects.described = true;
    if (file == kKeep) objects.beside = true;
    if (part) objects.archives[part->name].insert(part->number);
  }

  /// NAME_backup_stop_sentinel.json, NAME/metadata.json, NAME/tar_partitions/part_001.tar.lz4
  void take_walg(std::string_view name, std::uint64_t bytes) {
    const auto slash = name.find('/');
    const bool sentinel = slash == std::string_view::npos && name.ends_with(kSentinel);
    if (slash == std::string_view::npos && !sentinel) return;
    auto& objects = objects_[std::string(sentinel ? name.substr(0, name.size() - kSentinel.size())
                                                  : name.substr(0, slash))];
    objects.bytes += bytes;
    if (sentinel) {
      objects.described = true;
      return;
    }
    const auto file = name.substr(slash + 1);
    if (file == kMetadata) objects.beside = true;
    if (file.starts_with(kPartitions)) objects.archives["tar"].insert(0);
  }

  std::optional<FoundBackup> look_at(const std::string& name, const Objects& objects,
                                     std::string& parent) {
    FoundBackup backup{.path = store_.name_of(prefix_ + name), .bytes = objects.bytes};
    backup.in_store = true;
    try {
      if (is_barman_ ? read_barman(name, objects, backup, parent)
                     : read_walg(name, objects, backup))
        return backup;
      return std::nullopt;
    } catch (const store::StoreError&) {
      throw;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::conflict) throw;
      FoundBackup unreadable{
          .path = backup.path, .state = State::unreadable, .bytes = backup.bytes};
      unreadable.in_store = true;
      unreadable.problem = error.what();
      return unreadable;
    }
  }

  std::optional<std::string> text_of(const std::string& key) {
    return insist(patience_, [&] { return store::get_text(store_, key, kLargest); });
  }

  static void doubt(FoundBackup& backup, std::string problem) {
    backup.state = State::unfinished;
    backup.problem = std::move(problem);
  }

  /// Returns false if it is not a backup.
  bool read_barman(const std::string& id, const Objects& objects, FoundBackup& backup,
                   std::string& parent) {
    const auto key = fmt::format("{}{}/{}", prefix_, id, kInfo);
    const auto text = objects.described ? text_of(key) : std::nullopt;
    if (!text) {
      // The annotation of a backup that was removed is not one.
      doubt(backup, "it has no backup.info: it is unfinished or was aborted");
      return !objects.archives.empty() || objects.described;
    }
    auto info = parse_barman_info(*text, store_.name_of(key));
    backup.point = std::move(info.point);
    parent = std::move(info.parent_id);
    backup.keep_always = objects.beside;
    if (info.status == "FAILED") {
      if (!backup.point) return false;
      doubt(backup,
            "Barman has marked it as failed" + (info.error.empty() ? "" : ": " + info.error));
      return true;
    }
    // (The second one waits for WAL in Barman's own archive.)
    if (info.status != "DONE" && info.status != "WAITING_FOR_WALS") {
      doubt(backup, fmt::format("it is not finished: its status in Barman is {}", info.status));
      return true;
    }
    if (!backup.point) {
      doubt(backup, "its backup.info does not contain its start position");
      return true;
    }
    backup.vouched = backup.point->end.has_value();
    if (info.snapshot) return true;
    info.tablespaces.insert(info.tablespaces.begin(), "data");
    for (const auto& each : info.tablespaces) {
      const auto found = objects.archives.find(each);
      const auto missing =
          missing_part(each, found == objects.archives.end() ? nullptr : &found->second);
      if (!missing) continue;
      doubt(backup, fmt::format("its {} is missing", *missing));
      break;
    }
    return true;
  }

  bool read_walg(const std::string& name, const Objects& objects, FoundBackup& backup) {
    const auto key = prefix_ + name + std::string(kSentinel);
    const auto text = objects.described ? text_of(key) : std::nullopt;
    if (text) {
      backup.point = parse_walg_sentinel(*text, name, store_.name_of(key));
      backup.vouched = backup.point->end.has_value();
      if (objects.beside) read_walg_metadata(name, backup);
      if (objects.archives.empty()) doubt(backup, "its tar files are missing");
      return true;
    }
    const auto first = first_segment_of_walg(name);
    if (!first && !objects.described && objects.archives.empty()) return false;
    doubt(backup, "it has no sentinel: it is unfinished or was aborted");
    if (first && size_ && first->fits(*size_)) {
      archive::BackupPoint point;
      point.timeline = first->timeline();
      point.start = first->start(*size_);
      point.file = backup.path;
      backup.point = std::move(point);
    }
    return true;
  }

  void read_walg_metadata(const std::string& name, FoundBackup& backup) {
    const auto key = fmt::format("{}{}/{}", prefix_, name, kMetadata);
    const auto text = text_of(key);
    if (!text) return;
    const auto metadata = parse_walg_metadata(*text, store_.name_of(key));
    if (metadata.began) backup.point->began = metadata.began;
    backup.keep_always = metadata.permanent;
  }

  /// Barman names the backup that an incremental one builds upon, and not where that began.
  void add_parent(FoundBackup& backup, const std::string& id,
                  const std::vector<std::optional<FoundBackup>>& all) const {
    if (!backup.point) return;
    const auto path = store_.name_of(prefix_ + id);
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& other) {
      return other && other->path == path && other->point;
    });
    if (found != all.end())
      backup.point->parent =
          archive::BackupPoint::Parent{(*found)->point->timeline, (*found)->point->start};
    else
      doubt(backup, fmt::format("it is incremental to {}, which does not exist here", path));
  }

  store::ObjectStore& store_;
  const store::Layout& layout_;
  const std::optional<wal::SegmentSize> size_;
  const store::Patience patience_;
  const bool is_barman_ = layout_.form() == store::Layout::Form::barman;
  const std::string prefix_ = prefix_of_backups(layout_);
  std::map<std::string, Objects> objects_;  ///< by the backup's name
};

}  // namespace

std::string prefix_of_backups(const store::Layout& layout) {
  return layout.own_key(layout.form() == store::Layout::Form::barman ? "base/"
                                                                     : "basebackups_005/");
}

std::vector<FoundBackup> find_stored_backups(store::ObjectStore& store, const store::Layout& layout,
                                             std::optional<wal::SegmentSize> size, std::size_t jobs,
                                             const store::Patience& patience) {
  return StoreFinder(store, layout, size, patience).run(jobs);
}

}  // namespace weir::prune
