#include "import/offers.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "archive/content.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "archive/sizes.h"
#include "base/error.h"
#include "wal/page.h"

namespace weir::importing {

namespace {

/// A history has a few lines; a larger file is not a history.
constexpr std::size_t kLargestHistory = 1024 * 1024;
constexpr const char* kOwnCluster =
    "Offer the files of the archive's own cluster. A new initdb or a major upgrade creates a "
    "different cluster, even if it has the same name.";

class Collector {
 public:
  Collector(Cluster& cluster, std::vector<LeftOut>& left_out, const Stop& stop)
      : cluster_(cluster), left_out_(left_out), stop_(stop) {}

  void add(const Source& source) {
    const auto listing =
        source.file ? of_file(*source.file) : archive::list_archive_names(*source.shelf);
    if (listing.segments.empty() && listing.histories.empty()) {
      if (source.file && archive::is_backup_history_name(*source.file))
        return leave_out(source.shelf->path_of(*source.file), Reason::not_asked_for,
                         "it is a backup label, which does not identify the cluster");
      tell_no_source(source);
    }
    auto names = source.unreadable;
    for (const auto& forms : archive::segment_forms(listing))
      for (const auto* const row : {&forms.finished, &forms.partial})
        for (const auto& entry : *row) {
          names.push_back(entry.name.segment);
          candidates_.push_back({source.shelf, entry.name, original_of(source, entry.name)});
        }
    // (By number first: the timeline does not determine the order of segments.)
    const auto by_number = [](const wal::SegmentName& a, const wal::SegmentName& b) {
      return a.to_string().substr(8) < b.to_string().substr(8);
    };
    if (const auto [first, last] = std::minmax_element(names.begin(), names.end(), by_number);
        first != names.end())
      offers_.reaches.push_back({*first, *last, source.file.has_value()});
    for (const auto& entry : listing.histories) add_history(source, entry);
  }

  Offers run() {
    // If nothing is known yet, the newest readable one decides.
    auto order = candidates_;
    std::stable_sort(order.begin(), order.end(), [](const Offer& a, const Offer& b) {
      return b.name.segment < a.name.segment;
    });
    for (const auto& offer : order) {
      if (cluster_.system_identifier != 0 && cluster_.segment_size) break;
      learn(offer);
    }
    for (auto& offer : candidates_)
      if (belongs_here(offer)) {
        ours_.insert(offer.shelf.get());
        const auto segment = offer.name.segment;
        offers_.segments[segment].push_back(std::move(offer));
      }
    drop_strangers_histories();
    return std::move(offers_);
  }

 private:
  void tell_no_source(const Source& source) {
    const auto& path = source.shelf->path();
    if (source.file)
      leave_out(source.shelf->path_of(*source.file), Reason::not_sound,
                "this is neither a WAL segment nor a timeline history",
                "Import recognizes files by name: 24 hexadecimal digits, optionally with .partial, "
                ".gz, .lz4 or .zst, or 00000002.history.");
    else if (std::any_of(left_out_.begin(), left_out_.end(), [&](const LeftOut& each) {
               return each.no_source && each.path.starts_with(path + "/");
             }))
      return;
    else if (source.unreadable.empty())
      leave_out(path, Reason::not_sound, "there is no WAL in it",
                "A file system that is not mounted looks like an empty directory.");
    else
      leave_out(path, Reason::not_sound, "it contains no readable WAL");
    left_out_.back().no_source = true;
  }

  static archive::Listing of_file(const std::string& name) {
    archive::Listing listing;
    if (const auto segment = archive::SegmentFileName::parse(name))
      listing.segments.push_back({*segment, std::nullopt});
    else if (const auto history = archive::parse_history_name(name))
      listing.histories.push_back(*history);
    return listing;
  }

  static Original original_of(const Source& source, const archive::SegmentFileName& name) {
    const auto found = source.originals.find(name.to_string());
    return found == source.originals.end() ? Original{} : found->second;
  }

  static std::string name_of(const archive::HistoryEntry& entry) {
    return wal::history_name(entry.timeline) + std::string(codec::suffix(entry.method));
  }

  void leave_out(std::string path, Reason reason, std::string what, std::string hint = {}) {
    left_out_.push_back({std::move(path), reason, std::move(what), std::move(hint)});
  }

  void add_history(const Source& source, const archive::HistoryEntry& entry) {
    auto& shelf = *source.shelf;
    const auto name = name_of(entry);
    const auto original = source.originals.find(name);
    const auto path =
        original == source.originals.end() ? shelf.path_of(name) : original->second.path;
    std::string content;
    try {
      const auto file = shelf.open_bytes(name);
      if (!file) return;
      archive::read_content(*file, entry.method, path, [&](std::span<const std::byte> bytes) {
        content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return content.size() <= kLargestHistory;
      });
    } catch (const Error& error) {
      if (!is_of_the_file(error)) throw;
      return leave_out(path, Reason::not_sound, error.what(), error.hint());
    }
    const auto history = wal::TimelineHistory::parse(entry.timeline, content);
    if (!history) return leave_out(path, Reason::not_sound, "it is not a valid timeline history");
    const auto [known, added] = offers_.histories.try_emplace(
        entry.timeline, OfferedHistory{path, std::move(content), *history});
    if (added || known->second.history == *history)
      tellers_[entry.timeline].insert(&shelf);
    else
      leave_out(path, Reason::conflict, fmt::format("it contradicts {}", known->second.path),
                "Two servers were promoted to the same timeline. Find out which one the archive "
                "follows, and offer only its files.");
  }

  /// A history does not name its cluster: the segments next to it do.
  void drop_strangers_histories() {
    std::erase_if(offers_.histories, [&](const auto& each) {
      const auto& [timeline, history] = each;
      const auto& tellers = tellers_[timeline];
      if (!std::all_of(tellers.begin(), tellers.end(), [&](const io::Shelf* teller) {
            return strangers_.contains(teller) && !ours_.contains(teller);
          }))
        return false;
      leave_out(history.path, Reason::conflict, "the WAL next to it is of another cluster",
                kOwnCluster);
      return true;
    });
  }

  void learn(const Offer& offer) {
    try {
      const auto page = archive::read_first_page_header(*offer.shelf, offer.name);
      if (!page) return;
      const auto size = wal::SegmentSize::of(page->segment_size);
      if (!size || !offer.name.segment.fits(*size) ||
          page->address != offer.name.segment.start(*size))
        return;
      if (cluster_.system_identifier == 0) cluster_.system_identifier = page->system_identifier;
      if (!cluster_.segment_size) cluster_.segment_size = *size;
    } catch (const Error& error) {
      if (!is_of_the_file(error) && !archive::is_gone(error)) throw;
    }
  }

  [[nodiscard]] bool was_being_written(const Offer& offer) const {
    return cluster_.segment_size && wait_for_writer(offer, *cluster_.segment_size, stop_);
  }

  [[nodiscard]] bool belongs_here(const Offer& offer, bool again = false) {
    std::optional<wal::PageHeader> page;
    try {
      page = archive::read_first_page_header(*offer.shelf, offer.name);
    } catch (const Error& error) {
      // (Removed since it was listed: no longer offered.)
      if (archive::is_gone(error)) return false;
      if (!is_of_the_file(error)) throw;
      if (!again && was_being_written(offer)) return belongs_here(offer, true);
      leave_out(offer.path(), Reason::not_sound, error.what(), error.hint());
      return false;
    }
    if (!page && !again && was_being_written(offer)) return belongs_here(offer, true);
    if (!page) {
      if (offer.name.partial)
        leave_out(offer.path(), Reason::not_asked_for, "it is incomplete and empty");
      else
        leave_out(offer.path(), Reason::not_sound, "it does not begin with WAL");
      return false;
    }
    const auto stranger = [&](const std::string& what) {
      strangers_.insert(offer.shelf.get());
      leave_out(offer.path(), Reason::conflict, what, kOwnCluster);
      return false;
    };
    if (page->system_identifier != cluster_.system_identifier)
      return stranger(fmt::format("it is of another cluster: system identifier {}, not {}",
                                  page->system_identifier, cluster_.system_identifier));
    if (!cluster_.segment_size || page->segment_size != cluster_.segment_size->bytes() ||
        page->page_size != wal::kPageSize)
      return stranger(fmt::format("it is of another segment or page size: {} and {} bytes",
                                  page->segment_size, page->page_size));
    if (!offer.name.segment.fits(*cluster_.segment_size)) {
      leave_out(offer.path(), Reason::not_sound, "the file name does not match the segment size");
      return false;
    }
    if (page->address != offer.name.segment.start(*cluster_.segment_size)) {
      // A server renames old files to future segments (RemoveXlogFile() in xlog.c).
      const bool recycled = page->address < offer.name.segment.start(*cluster_.segment_size) &&
                            offer.shelf->find("archive_status");
      leave_out(
          offer.path(), recycled ? Reason::not_asked_for : Reason::not_sound,
          fmt::format("it contains the WAL of {}{}", page->address,
                      recycled ? ": an old file that the server has recycled for a future segment"
                               : ", which does not match its name"));
      return false;
    }
    return true;
  }

  Cluster& cluster_;
  std::vector<LeftOut>& left_out_;
  const Stop& stop_;
  std::vector<Offer> candidates_;
  std::map<wal::TimelineId, std::set<const io::Shelf*>> tellers_;  ///< that have its history
  std::set<const io::Shelf*> ours_;       ///< with segments of the archive's cluster
  std::set<const io::Shelf*> strangers_;  ///< with segments of another one
  Offers offers_;
};

}  // namespace

bool is_of_the_file(const Error& error) {
  return error.kind() == ErrorKind::damage || error.kind() == ErrorKind::io;
}

bool wait_for_writer(const Offer& offer, wal::SegmentSize segment_size, const Stop& stop) {
  if (offer.name.partial) return false;
  try {
    for (bool waited = false;; waited = true) {
      const auto change = archive::find_recent_change(
          *offer.shelf, offer.name.segment, segment_size, std::chrono::system_clock::now());
      if (!change.ends_early) return waited || change.changed;
      if (stop && stop(0)) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  } catch (const Error&) {
    return false;  // the first error is reported
  }
}

Offers collect(const std::vector<Source>& sources, Cluster& cluster, std::vector<LeftOut>& left_out,
               const Stop& stop) {
  Collector collector(cluster, left_out, stop);
  for (const auto& source : sources) collector.add(source);
  return collector.run();
}

}  // namespace weir::importing
