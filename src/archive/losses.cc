#include "archive/losses.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "archive/history_store.h"
#include "archive/home.h"
#include "archive/identity.h"
#include "archive/own_names.h"
#include "archive/record_file.h"
#include "archive/resume.h"
#include "archive/sizes.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "wal/timeline_history.h"

namespace weir::archive {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kLossVersion = 1;
/// A receiver that starts removes temporary files, including that of an acknowledgement in
/// progress.
constexpr int kTries = 5;
/// A disk or a network file system may fail temporarily. A small file is read again before it
/// counts as unreadable.
constexpr int kReads = 3;

constexpr std::array<Loss::Words, 3> kKinds = {{
    {.kind = Loss::Kind::hole,
     .name = "hole",
     .id_prefix = "hole-",
     .list = "holes",
     .summary = "WAL is missing",
     .what = "WAL from \"begin\" to \"end\" is missing, and no recovery can pass it. A recovery "
             "ends before it, or needs a base backup that started after it.",
     .if_lost = "While only partial segments follow the hole, a receiver that is started requests "
                "the missing WAL again, and no command reports a hole that begins in one of them "
                "and ends at the next. Later, the hole is found by the names of the segments.",
     .is_filled_by_segments = true,
     .grows = true},
    {.kind = Loss::Kind::lost_branch,
     .name = "lost_branch",
     .id_prefix = "branch-",
     .list = "lost_branches",
     .summary = "a failover abandoned WAL",
     .what = "The archive has WAL from \"begin\" to \"end\" that a failover abandoned: it was "
             "confirmed to the server, but is not part of the cluster's newest timeline. A "
             "recovery to this timeline replays it; a recovery to the newest timeline does not.",
     .if_lost = "The WAL itself is still in the archive, but it is no longer reported that the "
                "cluster lacks it.",
     .is_filled_by_segments = false,
     .grows = true},
    {.kind = Loss::Kind::minimal_wal,
     .name = "minimal_wal",
     .id_prefix = "minimal-",
     .list = "minimal_wal",
     .summary = "WAL was written with wal_level=minimal",
     .what = "The server wrote the WAL from \"begin\" to \"end\" with wal_level=minimal: no "
             "recovery can pass it, although the archive has all of it. A recovery ends before it, "
             "or needs a base backup that started after it.",
     .if_lost = "The WAL itself is still in the archive, but only \"pgweir verify\" and \"pgweir "
                "drill\" report that no recovery can pass it.",
     .is_filled_by_segments = false,
     .grows = false},
}};
static_assert(kKinds[0].kind == Loss::Kind::hole && kKinds[1].kind == Loss::Kind::lost_branch &&
              kKinds[2].kind == Loss::Kind::minimal_wal);

struct Id {
  Loss::Kind kind = Loss::Kind::hole;
  wal::TimelineId timeline = 0;
  wal::Lsn begin;
};

std::string id_text(const Id& id);
std::optional<Id> parse_id(std::string_view text);
std::optional<std::string> read_text(io::Shelf& directory, const std::string& name);
Loss read_record(const Id& id, const std::string& text);
std::string record_text(const Loss& loss);
std::string own_temporary_name(std::string_view name);
void write_durably(io::Directory& directory, const std::string& name, const std::string& temporary,
                   const std::string& text);

/// The recorded losses, open or not.
struct Recorded {
  std::vector<Loss> losses;          ///< ordered by start
  std::set<std::string> unreadable;  ///< ids of those whose file the disk did not give
};
Recorded read_all(io::Shelf& directory, const Listing& listing);

/// The existing segments, by the listing.
class Names {
 public:
  Names(io::Shelf& directory, const Listing& listing) : directory_(directory), listing_(listing) {}

  /// Ranges of a hole that have no complete segment and that something of the archive precedes. For
  /// other kinds: the whole range, unless the archive starts after it.
  [[nodiscard]] std::vector<Loss::Range> missing(const Loss& loss);
  /// The complete segments in the range of a hole, by number.
  [[nodiscard]] std::map<std::uint64_t, wal::SegmentName> filling(const Loss& hole);
  [[nodiscard]] bool is_open(const Loss& loss) { return !missing(loss).empty(); }

  /// The hole that a mark of an earlier version records for a partial segment.
  [[nodiscard]] std::optional<Loss> behind_mark(wal::SegmentName marked);
  /// Guesses the content of an unreadable record: a hole ends where the next file starts.
  void guess(Loss& loss);

 private:
  [[nodiscard]] std::optional<wal::Lsn> oldest(wal::SegmentSize size) const;
  [[nodiscard]] const std::optional<Identity>& identity();
  [[nodiscard]] bool counts(const SegmentEntry& entry, wal::SegmentSize size);
  [[nodiscard]] bool leads_here(const Loss& minimal);

  io::Shelf& directory_;
  const Listing& listing_;
  std::optional<std::optional<Identity>> identity_;
};

}  // namespace

std::span<const Loss::Words> Loss::kinds() { return kKinds; }

std::string_view to_string(Loss::Kind kind) {
  return kKinds.at(static_cast<std::size_t>(kind)).name;
}

std::string transactions_text(std::uint64_t commits, std::uint64_t prepared) {
  return counted(commits, "commit") +
         (prepared > 0 ? " and " + counted(prepared, "prepared transaction") : "");
}

bool lies_on(const Loss& minimal, const wal::TimelineHistory& history) {
  if (minimal.kind != Loss::Kind::minimal_wal || !history.contains(minimal.timeline)) return false;
  const auto left_at = history.end_of(minimal.timeline);
  return !left_at || minimal.begin < *left_at;
}

std::vector<Loss::Range> without_minimal_wal(Loss::Range range, const wal::TimelineHistory& history,
                                             std::span<const Loss> losses) {
  std::vector<Loss::Range> left;
  for (const auto& loss : losses) {  // ordered by start
    if (!lies_on(loss, history) || loss.end <= range.begin || loss.begin >= range.end) continue;
    if (loss.begin > range.begin) left.push_back({range.begin, loss.begin});
    range.begin = loss.goes_on ? range.end : std::min(loss.end, range.end);
  }
  if (left.empty() || range.begin < range.end) left.push_back(range);
  return left;
}

std::string Loss::id() const { return id_text({kind, timeline, begin}); }

wal::SegmentName Loss::first_segment() const {
  const auto at = missing.empty() ? begin : missing.front().begin;
  return {timeline, segment_size.segno(at), segment_size};
}

wal::SegmentName Loss::last_segment() const {
  const auto behind = missing.empty() ? end : missing.back().end;
  return {kind == Kind::hole ? next_timeline : timeline,
          segment_size.segno(wal::Lsn(behind.byte() - 1)), segment_size};
}

std::uint64_t Loss::bytes() const {
  if (missing.empty()) return end - begin;
  std::uint64_t sum = 0;
  for (const auto& range : missing) sum += range.end - range.begin;
  return sum;
}

std::vector<Loss> read_losses(io::Shelf& directory, const Listing& listing,
                              std::vector<Loss>* all) {
  auto recorded = read_all(directory, listing);
  if (all != nullptr) *all = recorded.losses;
  Names names(directory, listing);
  std::erase_if(recorded.losses, [&](Loss& loss) {
    auto missing = names.missing(loss);
    const bool open = !missing.empty() || recorded.unreadable.contains(loss.id());
    if (loss.words().is_filled_by_segments) loss.missing = std::move(missing);
    return !open;
  });
  return std::move(recorded.losses);
}

bool record_loss(io::Directory& directory, const Loss& loss, Longer longer) {
  const auto id = loss.id();
  const auto name = loss_record_name(id);
  PGWEIR_CHECK(loss.begin < loss.end);
  if (const auto text = read_text(directory, name)) {
    const auto held = read_record({loss.kind, loss.timeline, loss.begin}, *text);
    const bool same = held.end == loss.end && held.next_timeline == loss.next_timeline &&
                      held.goes_on == loss.goes_on;
    const bool covers = longer == Longer::kept && loss.kind == Loss::Kind::hole &&
                        held.end > loss.end && held.segment_size == loss.segment_size;
    if (!held.complaint && (same || covers)) {
      // The process that wrote it may have been killed before its sync.
      directory.sync();
      return false;
    }
  }
  write_durably(directory, name, own_temporary_name(name), record_text(loss));
  return true;
}

void acknowledge_loss(io::Directory& directory, const Loss& loss,
                      const Loss::Acknowledgement& acknowledgement) {
  const auto name = loss_acknowledgement_name(loss.id());
  Json json;
  json["what"] =
      "An operator has acknowledged the loss that is recorded in the file of the same name without "
      "the suffix. If this file is lost, monitoring reports the loss as unacknowledged again; "
      "nothing else is lost.";
  json["version"] = kLossVersion;
  json["id"] = loss.id();
  json["end"] = loss.end.to_string();
  json["time"] = acknowledgement.time;
  json["who"] = acknowledgement.who;
  json["reason"] = acknowledgement.reason;
  const auto text = text_of_record_file(json);
  const auto temporary = own_temporary_name(name);
  for (int i = 1;; ++i) {
    try {
      write_durably(directory, name, temporary, text);
      return;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::disk_full || i == kTries || directory.find(temporary)) throw;
      // fsync of a removed file fails as specified; here it only means that the name no longer
      // exists.
    }
  }
}

std::optional<Loss::Acknowledgement> read_acknowledgement(io::Shelf& directory, const Loss& loss) {
  const auto name = loss_acknowledgement_name(loss.id());
  const auto text = read_text(directory, name);
  if (!text) return std::nullopt;
  const auto json = Json::parse(*text, nullptr, false);
  const auto field = [&](const char* key) -> std::optional<std::string> {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_string()) return std::nullopt;
    return found->get<std::string>();
  };
  if (!json.is_object() || !field("time") || !field("who") || !field("reason") || !field("end"))
    throw Error(ErrorKind::damage, "an acknowledgement cannot be read")
        .with("path", directory.path() + "/" + name)
        .hint("Acknowledge the loss again with \"pgweir ack\": that replaces the file.");
  // If a loss has grown since, only the smaller one was acknowledged.
  if (loss.words().grows && wal::Lsn::parse(*field("end")) != loss.end) return std::nullopt;
  return Loss::Acknowledgement{*field("time"), *field("who"), *field("reason")};
}

namespace {

/// The content of the segments that fill a hole may not be durable yet: "cp" syncs nothing. Returns
/// false if that cannot be determined, because a file was removed, or cannot be opened.
bool make_filling_durable(io::Directory& directory, Names& names, const Loss& loss) {
  if (!loss.words().is_filled_by_segments) return true;
  try {
    for (const auto& [segno, segment] : names.filling(loss)) sync_finished(directory, segment);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    return false;
  }
  return true;
}

}  // namespace

std::vector<std::string> close_losses(io::Directory& directory, const Listing& listing) {
  std::vector<std::string> closed;
  std::set<std::string> open;
  Names names(directory, listing);
  const auto all = read_all(directory, listing);
  for (const auto& loss : all.losses) {
    // (Of a record that cannot be read only a guess is known: too little to remove it.)
    if (all.unreadable.contains(loss.id()) || names.is_open(loss) ||
        !make_filling_durable(directory, names, loss))
      open.insert(loss.id());
    else
      closed.push_back(loss.id());
  }
  std::vector<std::string> to_remove;
  for (const auto& name : listing.hidden) {
    if (const auto id = parse_loss_record(name); id && parse_id(*id) && !open.contains(*id))
      to_remove.push_back(name);
    if (const auto id = parse_loss_record(name, true); id && parse_id(*id) && !open.contains(*id))
      to_remove.push_back(name);
    if (const auto marked = parse_hole_mark(name)) {
      const auto loss = names.behind_mark(*marked);
      const auto recorded = loss && std::find(listing.hidden.begin(), listing.hidden.end(),
                                              loss_record_name(loss->id())) != listing.hidden.end();
      if (!loss || recorded) to_remove.push_back(name);
    }
  }
  if (to_remove.empty()) return closed;
  // The names of the segments that fill a hole may not be durable yet (an import that was killed):
  // after a power failure, the hole would be there again, without a record.
  directory.sync();
  for (const auto& name : to_remove) directory.remove(name);
  directory.sync();
  return closed;
}

void remove_losses(io::Directory& directory, std::span<const std::string> ids) {
  if (ids.empty()) return;
  for (const auto& id : ids) {
    directory.remove(loss_record_name(id));
    directory.remove(loss_acknowledgement_name(id));
  }
  directory.sync();
}

namespace {

std::string id_text(const Id& id) {
  auto position = id.begin.to_string();
  std::replace(position.begin(), position.end(), '/', '-');
  return fmt::format("{}{}-{}", kKinds.at(static_cast<std::size_t>(id.kind)).id_prefix, id.timeline,
                     position);
}

std::optional<Id> parse_id(std::string_view whole) {
  auto text = whole;
  Id id;
  const auto row = std::find_if(kKinds.begin(), kKinds.end(), [&](const Loss::Words& each) {
    return text.starts_with(each.id_prefix);
  });
  if (row == kKinds.end()) return std::nullopt;
  id.kind = row->kind;
  text.remove_prefix(row->id_prefix.size());
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto timeline = parse_number<wal::TimelineId>(text.substr(0, dash));
  if (!timeline || *timeline == 0) return std::nullopt;
  id.timeline = *timeline;
  std::string position(text.substr(dash + 1));
  std::replace(position.begin(), position.end(), '-', '/');
  const auto begin = wal::Lsn::parse(position);
  if (!begin) return std::nullopt;
  id.begin = *begin;
  // "hole-01-0-3" is not a valid ID.
  if (id_text(id) != whole) return std::nullopt;
  return id;
}

/// nullopt if there is no such file. Throws Error{io}.
std::optional<std::string> read_text(io::Shelf& directory, const std::string& name) {
  for (int reads = 1;; ++reads) {
    try {
      return read_record_file(directory, name);
    } catch (const Error&) {
      if (reads == kReads) throw;
    }
  }
}

Loss read_record(const Id& id, const std::string& text) {
  Loss loss;
  loss.kind = id.kind;
  loss.timeline = loss.next_timeline = id.timeline;
  loss.begin = loss.sound_end = loss.counted_to = id.begin;
  const auto json = Json::parse(text, nullptr, false);
  const auto field = [&](const char* key) { return text_in(json, key); };
  const auto end = wal::Lsn::parse(field("end"));
  const auto size = wal::SegmentSize::of(number_in(json, "segment_size").value_or(0));
  const auto next = number_in(json, "next_timeline");
  const auto identifier = parse_number<std::uint64_t>(field("system_identifier"));
  if (!json.is_object() || field("id") != loss.id() || !end || *end <= id.begin || !size || !next ||
      *next < id.timeline || *next > UINT32_MAX || !identifier) {
    loss.complaint = text.empty() ? "the record is empty" : "the record is damaged";
    return loss;
  }
  loss.end = *end;
  loss.segment_size = *size;
  loss.next_timeline = static_cast<wal::TimelineId>(*next);
  loss.system_identifier = *identifier;
  loss.sound_end = std::max(id.begin, wal::Lsn::parse(field("sound_end")).value_or(id.begin));
  loss.found = field("found");
  loss.cause = field("cause");
  loss.server = field("server");
  loss.commits = number_in(json, "commits");
  loss.prepared = number_in(json, "prepared").value_or(0);
  const auto goes_on = json.find("goes_on");
  loss.goes_on = goes_on != json.end() && goes_on->is_boolean() && goes_on->get<bool>();
  loss.counted_to = wal::Lsn::parse(field("counted_to")).value_or(id.begin);
  return loss;
}

/// For a person who finds it, as much as for the next start.
std::string record_text(const Loss& loss) {
  Json json;
  json["what"] = loss.words().what;
  json["if_this_file_is_lost"] = loss.words().if_lost;
  json["version"] = kLossVersion;
  json["id"] = loss.id();
  json["kind"] = to_string(loss.kind);
  json["system_identifier"] = std::to_string(loss.system_identifier);
  json["segment_size"] = loss.segment_size.bytes();
  json["timeline"] = loss.timeline;
  json["next_timeline"] = loss.next_timeline;
  json["begin"] = loss.begin.to_string();
  json["end"] = loss.end.to_string();
  json["first_segment"] = loss.first_segment().to_string();
  json["last_segment"] = loss.last_segment().to_string();
  if (loss.kind == Loss::Kind::minimal_wal) json["goes_on"] = loss.goes_on;
  if (loss.kind == Loss::Kind::hole)
    json["sound_end"] = std::max(loss.begin, loss.sound_end).to_string();
  json["found"] = loss.found;
  json["cause"] = loss.cause;
  json["server"] = loss.server;
  if (loss.commits) {
    json["commits"] = *loss.commits;
    json["prepared"] = loss.prepared;
    json["counted_to"] = loss.counted_to.to_string();
  }
  return text_of_record_file(json);
}

/// Two processes at a time do not write into each other's file.
std::string own_temporary_name(std::string_view name) {
  name.remove_prefix(std::string_view(".pgweir-").size());
  return temporary_name(fmt::format("{}.{}", name, ::getpid()));
}

/// Streaming resumes after the loss: without the name, the loss would be unknown after a crash.
void write_durably(io::Directory& directory, const std::string& name, const std::string& temporary,
                   const std::string& text) {
  DirectoryHome home(directory);
  publish_text(home, {.name = name, .replace = true, .temporary = temporary}, text);
}

Recorded read_all(io::Shelf& directory, const Listing& listing) {
  Recorded recorded;
  auto& losses = recorded.losses;
  Names names(directory, listing);
  for (const auto& hidden : listing.hidden) {
    const auto text = parse_loss_record(hidden);
    const auto id = text ? parse_id(*text) : std::nullopt;
    if (!id) continue;
    Loss loss;
    try {
      const auto content = read_text(directory, hidden);
      if (!content) continue;  // removed meanwhile
      loss = read_record(*id, *content);
    } catch (const Error& error) {
      loss = read_record(*id, {});
      loss.complaint = error.what();
      recorded.unreadable.insert(loss.id());
    }
    if (loss.complaint) names.guess(loss);
    try {
      loss.acknowledged = read_acknowledgement(directory, loss);
    } catch (const Error& error) {
      if (!loss.complaint) loss.complaint = error.what();
    }
    losses.push_back(std::move(loss));
  }
  for (const auto& hidden : listing.hidden)
    if (const auto marked = parse_hole_mark(hidden))
      if (auto loss = names.behind_mark(*marked))
        if (std::none_of(losses.begin(), losses.end(),
                         [&](const Loss& known) { return known.id() == loss->id(); }))
          losses.push_back(std::move(*loss));
  std::sort(losses.begin(), losses.end(), [](const Loss& a, const Loss& b) {
    return std::tie(a.begin, a.timeline, a.kind) < std::tie(b.begin, b.timeline, b.kind);
  });
  return recorded;
}

const std::optional<Identity>& Names::identity() {
  if (!identity_) {
    try {
      identity_ = read_identity(directory_, listing_);
    } catch (const Error&) {
      identity_ = std::optional<Identity>();  // determined when the archive itself is read
    }
  }
  return *identity_;
}

std::optional<wal::Lsn> Names::oldest(wal::SegmentSize size) const {
  std::optional<wal::Lsn> oldest;
  for (const auto& entry : listing_.segments) {
    if (!entry.name.segment.fits(size)) continue;
    const auto start = entry.name.segment.start(size);
    if (!oldest || start < *oldest) oldest = start;
  }
  return oldest;
}

/// A file of another size is not a segment, regardless of its name.
bool Names::counts(const SegmentEntry& entry, wal::SegmentSize size) {
  try {
    return !is_of_wrong_size(directory_, entry, size);
  } catch (const Error&) {
    return true;  // (The error is reported by the code that reads it.)
  }
}

/// True if a timeline of the archive continues this one from after the loss's start, or may do so:
/// its history cannot be read.
bool Names::leads_here(const Loss& minimal) {
  std::set<wal::TimelineId> timelines;
  for (const auto& entry : listing_.segments) timelines.insert(entry.name.segment.timeline());
  return std::any_of(timelines.begin(), timelines.end(), [&](wal::TimelineId timeline) {
    if (timeline <= minimal.timeline) return timeline == minimal.timeline;
    try {
      const auto content = read_history(directory_, timeline);
      const auto history = content ? wal::TimelineHistory::parse(timeline, *content) : std::nullopt;
      return !history || lies_on(minimal, *history);
    } catch (const Error&) {
      return true;
    }
  });
}

std::vector<Loss::Range> Names::missing(const Loss& loss) {
  // A loss with an unreadable record is reported even if that may be redundant.
  if (loss.complaint && !identity()) return {{loss.begin, loss.end}};
  const auto& size = loss.segment_size;
  const auto first_file = oldest(size);
  if (!loss.words().is_filled_by_segments) {
    if (first_file && loss.end <= *first_file && !(loss.goes_on && leads_here(loss))) return {};
    return {{loss.begin, loss.end}};
  }
  std::vector<Loss::Range> missing;
  const auto add = [&](std::uint64_t segno, std::uint64_t behind) {
    const wal::Lsn begin = std::max(loss.begin, size.start(segno));
    const wal::Lsn end = std::min(loss.end, size.start(behind));
    if (begin >= end) return;
    // Nothing is missing before the first file of the archive, where it starts.
    if (first_file && end <= *first_file) return;
    if (!missing.empty() && missing.back().end == begin)
      missing.back().end = end;
    else
      missing.push_back({begin, end});
  };
  auto at = size.segno(loss.begin);
  for (const auto& [segno, segment] : filling(loss)) {
    add(at, segno);
    at = segno + 1;
  }
  add(at, size.segno(wal::Lsn(loss.end.byte() - 1)) + 1);
  return missing;
}

std::map<std::uint64_t, wal::SegmentName> Names::filling(const Loss& hole) {
  const auto& size = hole.segment_size;
  std::optional<wal::TimelineHistory> history;
  if (hole.timeline != hole.next_timeline) {
    try {
      if (const auto content = read_history(directory_, hole.next_timeline))
        history = wal::TimelineHistory::parse(hole.next_timeline, *content);
    } catch (const Error&) {
      // Without it, a segment of the range counts regardless of its timeline.
    }
  }
  const auto first = size.segno(hole.begin);
  const auto behind = size.segno(wal::Lsn(hole.end.byte() - 1)) + 1;
  // A hole may have a million segments, and the archive two: so by files, not by numbers.
  std::map<std::uint64_t, wal::SegmentName> there;
  for (const auto& entry : listing_.segments) {
    const auto& name = entry.name.segment;
    if (entry.name.partial || !name.fits(size)) continue;
    const auto segno = name.segno(size);
    if (segno < first || segno >= behind) continue;
    const bool ours =
        history ? name.timeline() == timeline_of_segment(*history, segno, size)
                : name.timeline() >= hole.timeline && name.timeline() <= hole.next_timeline;
    if (ours && counts(entry, size)) there.emplace(segno, name);
  }
  return there;
}

std::optional<Loss> Names::behind_mark(wal::SegmentName marked) {
  const auto* entry = static_cast<const SegmentEntry*>(nullptr);
  for (const auto& each : listing_.segments) {
    if (each.name.segment != marked) continue;
    if (!each.name.partial) return std::nullopt;
    entry = &each;
  }
  if (entry == nullptr || !identity()) return std::nullopt;
  const auto size = identity()->segment_size;
  if (!marked.fits(size)) return std::nullopt;
  // Behind the last complete segment before it, as a start of the earlier version saw it.
  std::optional<std::uint64_t> lowest;
  std::optional<std::uint64_t> finished;
  for (const auto& each : listing_.segments) {
    const auto& name = each.name.segment;
    if (name.timeline() != marked.timeline() || !name.fits(size) || name >= marked) continue;
    const auto segno = name.segno(size);
    if (!lowest) lowest = segno;
    if (!each.name.partial) finished = segno;
  }
  if (!lowest) return std::nullopt;
  Loss loss;
  loss.timeline = loss.next_timeline = marked.timeline();
  loss.begin = loss.sound_end = size.start(finished ? *finished + 1 : *lowest);
  loss.end = marked.start(size);
  if (loss.begin >= loss.end) return std::nullopt;
  loss.segment_size = size;
  loss.system_identifier = identity()->system_identifier;
  loss.recorded = false;
  loss.cause = "accepted with --on-gap continue, as recorded by an earlier version of pgweir";
  return loss;
}

void Names::guess(Loss& loss) {
  if (identity()) {
    loss.segment_size = identity()->segment_size;
    loss.system_identifier = identity()->system_identifier;
  }
  const auto& size = loss.segment_size;
  loss.end = size.start(size.segno(loss.begin) + 1);
  for (const auto& entry : listing_.segments) {
    const auto& name = entry.name.segment;
    const bool begins_there = loss.kind == Loss::Kind::hole && name.fits(size) &&
                              name.timeline() >= loss.timeline && name.start(size) > loss.begin;
    if (!begins_there) continue;
    loss.end = name.start(size);
    loss.next_timeline = name.timeline();
    break;
  }
}

}  // namespace

}  // namespace weir::archive
