#include "verify/segment_check.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "archive/compare.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "wal/records.h"
#include "wal/resource_manager.h"

// How records are checked over segment borders although segments are read in parallel: a chunk is a
// row of segments that one verifier reads from end to end. At the end of a chunk, and wherever a
// timeline forks, a copy of the verifier reads on into the segment behind the border until the
// first record that begins there is complete. So each record is checked by a verifier that saw its
// first byte, and each prev-link by one that saw the record before. Only the front of a chunk's
// first segment is read twice.

namespace weir::verify {

namespace {

using wal::Lsn;
using State = Outcome::State;

constexpr std::size_t kMostAttempts = 50;  // at a file that changes under our eyes

std::optional<Loss> loss_of(const Node& node, Lsn at, wal::SegmentSize size) {
  const auto end = size.start(node.segno + 1);
  return Loss{node.timeline, at < end ? at : size.start(node.segno), end};
}

}  // namespace

/// Looks into the few records that say something about timelines and backups.
class SegmentCheck::Observer final : public wal::RecordObserver {
 public:
  Observer(SegmentCheck& check, const Node& node) : check_(check), timeline_(node.timeline) {
    const auto* const history = check.history(node.timeline);
    if (history == nullptr) return;
    const auto begin = history->begin_of(node.timeline);
    if (!begin || !begin->valid() || check.cluster_.segment_size.segno(*begin) != node.segno)
      return;
    switchpoint_ = *begin;
    parent_ = history->ancestors().back().timeline;
    const auto& size = check.cluster_.segment_size;
    first_record_ = *begin;
    if (size.offset(*begin) == 0)
      first_record_ = *begin + wal::kLongHeaderSize;
    else if (begin->byte() % wal::kPageSize == 0)
      first_record_ = *begin + wal::kShortHeaderSize;
  }

  [[nodiscard]] bool needed() const { return switchpoint_ || check_.backup_start_; }

  bool wants(const wal::RecordHeader& header) override {
    return wal::is_xlog(header, wal::XlogRecord::backup_end) || wal::names_timeline(header);
  }

  void on_record(Lsn start, Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    if (wal::is_xlog(header, wal::XlogRecord::backup_end) && check_.backup_start_ &&
        wal::start_of_ended_backup(body) == check_.backup_start_) {
      const std::lock_guard lock(check_.mutex_);
      check_.backup_ends_.emplace_back(timeline_, end);
    }
    if (!switchpoint_ || start < *switchpoint_) return;
    judge_switch(start, header, body);
  }

 private:
  /// A new timeline begins, exactly at the switchpoint, with records of the XLOG resource manager,
  /// one of which names the new timeline and the one before (checkTimeLineSwitch in
  /// access/transam/xlogrecovery.c makes use of it).
  void judge_switch(Lsn start, const wal::RecordHeader& header, std::span<const std::byte> body) {
    if (!seen_first_ && start != first_record_) {
      complain(start, fmt::format("no record begins at the switchpoint {} of the history file: the "
                                  "first one behind it begins at {}",
                                  *switchpoint_, start));
      return;
    }
    seen_first_ = true;
    if (!wal::is_xlog(header)) {
      complain(start, fmt::format("the record at the switchpoint {} is not one that begins a "
                                  "timeline",
                                  *switchpoint_));
      return;
    }
    if (!wal::names_timeline(header)) return;  // the next one tells
    const auto told = wal::timeline_begin(body).value_or(wal::TimelineBegin{});
    if (told.timeline != timeline_ || told.previous != parent_)
      complain(start, fmt::format("the history file says that timeline {} follows {}, its WAL says "
                                  "{} follows {}",
                                  timeline_, parent_, told.timeline, told.previous));
    switchpoint_ = std::nullopt;
  }

  void complain(Lsn at, std::string what) {
    switchpoint_ = std::nullopt;
    Finding finding;
    finding.kind = FindingKind::history;
    finding.file = wal::history_name(timeline_);
    finding.timeline = timeline_;
    finding.lsn = at;
    finding.what = std::move(what);
    finding.hint =
        "The history file and the segments do not belong together. Fetch both again from a server "
        "of this timeline (its pg_wal) before relying on a recovery across this switch.";
    check_.add(std::move(finding));
  }

  SegmentCheck& check_;
  wal::TimelineId timeline_;
  std::optional<Lsn> switchpoint_;
  wal::TimelineId parent_ = 0;
  Lsn first_record_;
  bool seen_first_ = false;
};

SegmentCheck::SegmentCheck(io::Shelf& directory, const Plan& plan,
                           const archive::Timelines& timelines, Cluster cluster,
                           std::optional<Lsn> backup_start,
                           std::function<void(std::uint64_t)> advance, std::function<bool()> stop)
    : directory_(directory),
      plan_(plan),
      cluster_(cluster),
      backup_start_(backup_start),
      advance_(std::move(advance)),
      stop_(std::move(stop)),
      outcomes_(plan.nodes.size()) {
  for (const auto& node : plan.nodes) {
    if (histories_.contains(node.timeline)) continue;
    const auto history = timelines.history(node.timeline);
    // Of a timeline without a history file nobody knows which pages are an ancestor's.
    if (history && (node.timeline == 1 || !history->ancestors().empty()))
      histories_.emplace(node.timeline, *history);
  }
}

void SegmentCheck::check_chunk(const std::vector<std::size_t>& chunk) {
  const auto observer = new_observer(chunk.front());
  std::optional<Verifier> verifier;
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    if (!verifier) verifier.emplace(new_verifier(plan_.nodes[chunk[i]], observer.get()));
    const auto records_before = verifier->records();
    if (!check_finished(chunk[i], verifier)) verifier.reset();
    if (stopped()) return;
    if (verifier) {
      const std::lock_guard lock(mutex_);
      records_ += verifier->records() - records_before;
    }
    const auto next = i + 1 < chunk.size() ? std::optional(chunk[i + 1]) : std::nullopt;
    follow_children(chunk[i], verifier, next, observer.get());
  }
}

void SegmentCheck::follow_children(std::size_t node, const std::optional<Verifier>& verifier,
                                   std::optional<std::size_t> next, Observer* observer) {
  for (const auto child : plan_.nodes[node].children) {
    if (child == next || !plan_.nodes[child].chosen) continue;
    if (!plan_.nodes[child].is_finished())
      check_partial(child, verifier, observer);
    else if (verifier)
      check_border(plan_.nodes[node], *verifier, child);
  }
}

// ---- finished segments

struct SegmentCheck::Reading {
  std::optional<wal::Damage> damage = std::nullopt;
  std::optional<wal::PageHeader> first_page = std::nullopt;
  std::uint64_t given = 0;
};

SegmentCheck::Reading SegmentCheck::read_form(const archive::SegmentFileName& file,
                                              Verifier& verifier, bool count) {
  Reading reading;
  archive::read_segment(directory_, file, cluster_.segment_size,
                        [&](std::span<const std::byte> wal) {
                          if (reading.given == 0) reading.first_page = wal::decode_page_header(wal);
                          reading.given += wal.size();
                          reading.damage = verifier.feed(wal);
                          return (!count || moved(wal.size())) && !reading.damage;
                        });
  return reading;
}

/// True if a sound form was read to its end, and `verifier` stands there. Where it was stopped,
/// nothing is settled.
bool SegmentCheck::check_finished(std::size_t index, std::optional<Verifier>& verifier) {
  const auto& node = plan_.nodes[index];
  const auto before = *verifier;
  auto forms = node.finished;
  Outcome worst{State::damaged, {}, {}};
  bool vanished = false;
  std::vector<Finding> broken;  // told once it is known whether another form is sound
  std::set<std::string> tried;
  for (std::size_t i = 0; i < forms.size(); ++i) {
    const auto name = forms[i].to_string();
    auto attempt = before;
    tried.insert(name);
    try {
      const auto reading = read_form(forms[i], attempt, i == 0);
      if (stopped()) return false;
      {
        const std::lock_guard lock(mutex_);
        ++files_;
      }
      if (!reading.damage) {
        verifier = std::move(attempt);
        // The part of a record that goes on behind the border belongs to the border's check.
        settle(index, {State::sound, cluster_.segment_size.start(node.segno + 1), name});
        for (auto& finding : broken) {
          finding.loss = std::nullopt;
          finding.hint = fmt::format("{} is sound. Move {} away.", name, finding.file);
          add(std::move(finding));
        }
        check_other_forms(node, forms[i], tried);
        check_partial_beside(node, forms[i]);
        return true;
      }
      if (ends_at_switchpoint(node, *reading.damage)) {
        note(fmt::format(
            "{} holds WAL only up to where its timeline was left, {}; nobody needs more", name,
            attempt.last_record_end()));
        settle(index, {State::partial, attempt.last_record_end(), name});
        return false;
      }
      broken.push_back(damage_finding(node, name, *reading.damage, reading.first_page));
      worst = {State::damaged, attempt.last_record_end(), name};
    } catch (const Error& error) {
      if (archive::is_gone(error)) {
        // Compressed or pruned meanwhile. A form may also come back: a file that was moved away.
        if (const auto other = archive::find_finished(directory_, node.name)) {
          if (std::find(forms.begin() + static_cast<std::ptrdiff_t>(i) + 1, forms.end(), *other) ==
                  forms.end() &&
              forms.size() < kMostAttempts)
            forms.push_back(*other);
        } else {
          vanished = true;
        }
        continue;
      }
      if (still_being_written(forms[i], node) && forms.size() < kMostAttempts) {
        forms.push_back(forms[i]);
        continue;
      }
      broken.push_back(error_finding(node, name, error, attempt.position() - before.position()));
      worst = {State::damaged, attempt.last_record_end(), name};
    }
  }
  for (auto& finding : broken) add(std::move(finding));
  settle(index, vanished && broken.empty() ? Outcome{State::vanished, {}, {}} : worst);
  return false;
}

/// The last segment of a timeline that was left in it: copied from a pg_wal, it has its full name
/// although it was never finished. No way through the archive leads behind the switchpoint.
bool SegmentCheck::ends_at_switchpoint(const Node& node, const wal::Damage& damage) const {
  for (const auto child : node.children)
    if (plan_.nodes[child].timeline == node.timeline) return false;
  return std::any_of(histories_.begin(), histories_.end(), [&](const auto& known) {
    const auto end = known.second.end_of(node.timeline);
    return end && cluster_.segment_size.segno(*end) == node.segno && damage.at >= *end;
  });
}

/// A program such as gzip gives its file the final name first and then writes it, while the other
/// form stays: such a file is not damaged, it is not there yet. True if it changes under our eyes,
/// after a moment's wait, or is gone.
bool SegmentCheck::still_being_written(const archive::SegmentFileName& file, const Node& node) {
  using namespace std::chrono_literals;
  if (file.method == codec::Method::none) return false;
  const archive::SegmentFileName raw{node.name, codec::Method::none, false};
  if (!directory_.find(raw.to_string())) return false;
  const auto name = file.to_string();
  const auto before = io::identity_of(directory_, name);
  if (!before) return !directory_.find(name);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  if (now - std::chrono::nanoseconds(before->modified_ns) < 5s) std::this_thread::sleep_for(50ms);
  return io::identity_of(directory_, name) != before;
}

void SegmentCheck::check_other_forms(const Node& node, const archive::SegmentFileName& sound,
                                     const std::set<std::string>& tried) {
  for (const auto& file : node.finished) {
    const auto name = file.to_string();
    if (tried.contains(name)) continue;
    try {
      const auto offset = archive::first_difference(directory_, sound, file, cluster_.segment_size,
                                                    cluster_.segment_size.bytes());
      if (!offset) continue;
      // Behind an xlog-switch record nobody reads: copies from a primary and a standby may differ.
      if (replay_filler(node, sound, *offset)) {
        note(fmt::format("{} and {} differ only behind their last record, which is no damage",
                         sound.to_string(), name));
        continue;
      }
      Finding finding;
      finding.kind = FindingKind::forms_differ;
      finding.file = name;
      finding.timeline = node.timeline;
      finding.offset = *offset;
      finding.found_at = cluster_.segment_size.start(node.segno) + *offset;
      finding.what =
          fmt::format("the file holds other WAL than {}, which is sound", sound.to_string());
      finding.hint = fmt::format("Move {} away: a recovery could be given either of them.", name);
      add(std::move(finding));
    } catch (const Error& error) {
      // Either is gone: whoever compresses removes one of the two.
      if (archive::is_gone(error)) continue;
      if (still_being_written(file, node)) continue;
      auto finding = error_finding(node, name, error, 0);
      finding.loss = std::nullopt;  // the other form is sound
      finding.hint = fmt::format("{} is sound. Move {} away.", sound.to_string(), name);
      add(std::move(finding));
    }
  }
}

/// True if the byte at `offset` lies behind an xlog-switch record.
bool SegmentCheck::replay_filler(const Node& node, const archive::SegmentFileName& file,
                                 std::uint64_t offset) {
  struct SwitchFinder final : wal::RecordObserver {
    bool wants(const wal::RecordHeader&) override { return false; }
    void on_record(Lsn, Lsn end, const wal::RecordHeader& header,
                   std::span<const std::byte>) override {
      if (wal::is_xlog(header, wal::XlogRecord::segment_switch)) switch_end = end;
    }
    std::optional<Lsn> switch_end;
  } finder;
  auto verifier = new_verifier(node, &finder);
  const auto reading = read_form(file, verifier, false);
  return !reading.damage && finder.switch_end &&
         cluster_.segment_size.start(node.segno) + offset >= *finder.switch_end;
}

/// A .partial next to the finished form: a leftover, but what is sound in it must be the same WAL.
void SegmentCheck::check_partial_beside(const Node& node, const archive::SegmentFileName& sound) {
  for (const auto& file : node.partial) {
    const auto name = file.to_string();
    try {
      auto verifier = new_verifier(node, nullptr);
      read_form(file, verifier, false);
      const auto start = cluster_.segment_size.start(node.segno);
      const auto end = verifier.last_record_end();
      if (end <= start) continue;
      const auto offset =
          archive::first_difference(directory_, sound, file, cluster_.segment_size, end - start);
      if (!offset || replay_filler(node, sound, *offset)) continue;
      Finding finding;
      finding.kind = FindingKind::forms_differ;
      finding.file = name;
      finding.timeline = node.timeline;
      finding.offset = *offset;
      finding.found_at = start + *offset;
      finding.what = fmt::format("the unfinished file holds other WAL than {}, which is sound",
                                 sound.to_string());
      finding.hint = fmt::format("Move {} away.", name);
      add(std::move(finding));
    } catch (const Error& error) {
      if (archive::is_gone(error)) continue;
      auto finding = error_finding(node, name, error, 0);
      finding.loss = std::nullopt;
      finding.hint = fmt::format("{} is sound. Move {} away.", sound.to_string(), name);
      add(std::move(finding));
    }
  }
}

/// Reads on until the first record that begins behind the border is complete.
void SegmentCheck::check_border(const Node& parent, Verifier verifier, std::size_t child) {
  const auto border = cluster_.segment_size.start(parent.segno + 1);
  constexpr auto kNone = static_cast<std::size_t>(-1);
  for (auto next = child; next != kNone;) {
    const auto& node = plan_.nodes[next];
    next = kNone;
    if (!node.is_finished() || !node.chosen) return;
    verifier.follow(node.timeline, history(node.timeline));
    std::optional<wal::Damage> damage;
    std::optional<wal::PageHeader> first_page;
    bool enough = false;
    std::uint64_t given = 0;
    // Another form, if the first one is broken: that is told where the segment itself is checked.
    auto forms = node.finished;
    for (std::size_t i = 0; i < forms.size(); ++i) {
      const auto file = forms[i];
      auto attempt = verifier;
      damage = std::nullopt;
      enough = false;
      given = 0;
      try {
        archive::read_segment(
            directory_, file, cluster_.segment_size, [&](std::span<const std::byte> wal) {
              if (given == 0) first_page = wal::decode_page_header(wal);
              given += wal.size();
              // Page by page: of what lies behind the record, nothing is to be found here.
              while (!wal.empty() && !enough && !damage) {
                const auto page = wal.first(std::min<std::size_t>(wal.size(), wal::kPageSize));
                wal = wal.subspan(page.size());
                damage = attempt.feed(page);
                enough = attempt.last_record_start() >= border || attempt.unchecked();
              }
              return !enough && !damage;
            });
      } catch (const Error& error) {
        if (!archive::is_gone(error) || forms.size() >= kMostAttempts) continue;
        const auto other = archive::find_finished(directory_, node.name);
        if (other && std::find(forms.begin() + static_cast<std::ptrdiff_t>(i) + 1, forms.end(),
                               *other) == forms.end())
          forms.push_back(*other);
        continue;
      }
      if (damage && attempt.last_record_start() >= border) damage = std::nullopt;
      if (!damage) {
        verifier = std::move(attempt);
        break;
      }
      add(damage_finding(node, file.to_string(), *damage, first_page));
      const std::lock_guard lock(mutex_);
      broken_borders_.emplace(child, attempt.last_record_end());
      return;
    }
    if (enough || given < cluster_.segment_size.bytes()) return;
    for (const auto grandchild : node.children)
      if (plan_.nodes[grandchild].timeline == node.timeline) next = grandchild;
  }
}

// ---- partials

namespace {

/// Reads a .partial and, once its records end, goes on looking for signs that WAL had been written
/// behind that place: then what seems to be the end is damage. A page with the right address is
/// one; zeros and the old content of a recycled file are none.
class PartialReader {
 public:
  PartialReader(wal::RecordVerifier& verifier, Lsn start) : verifier_(verifier), start_(start) {}

  void take(std::span<const std::byte> wal) {
    while (!wal.empty()) {
      const auto piece = wal.first(std::min(wal.size(), wal::kPageSize - fill_));
      std::copy(piece.begin(), piece.end(), page_.begin() + static_cast<std::ptrdiff_t>(fill_));
      fill_ += piece.size();
      wal = wal.subspan(piece.size());
      if (fill_ == wal::kPageSize) page();
    }
  }
  void finish() {
    if (fill_ > 0) page();
  }

  [[nodiscard]] const std::optional<wal::Damage>& damage() const { return damage_; }
  [[nodiscard]] bool written_behind() const { return written_behind_; }
  [[nodiscard]] std::uint64_t given() const { return at_; }
  [[nodiscard]] const std::optional<wal::PageHeader>& first_page() const { return first_page_; }

 private:
  void page() {
    const auto bytes = std::span(page_).first(fill_);
    const auto address = start_ + at_;
    if (at_ == 0) first_page_ = wal::decode_page_header(bytes);
    if (!damage_) {
      damage_ = verifier_.feed(bytes);
      if (damage_) look_behind(bytes, address);
    } else if (const auto header = wal::decode_page_header(bytes);
               header && header->address == address && wal::major_version_of_magic(header->magic)) {
      written_behind_ = true;
    }
    at_ += fill_;
    fill_ = 0;
  }

  /// On the page where the records end: a record whose checksum is right and that links to where
  /// we came from was written behind it.
  void look_behind(std::span<const std::byte> page, Lsn address) {
    if (damage_->found_at < address) return;
    const auto lowest = verifier_.last_record_start();
    // A record that is there as a whole, linked to the one before, but with a wrong checksum: what
    // was not yet received would be zeros or have other links.
    if (damage_->record && damage_->at >= address && damage_->record->previous == lowest &&
        damage_->record->crc != 0) {
      const auto record = page.subspan(damage_->at - address);
      const auto length = damage_->record->total_length;
      if (length >= wal::kRecordHeaderSize && length <= record.size() &&
          std::any_of(record.begin() + (length - 8), record.begin() + length,
                      [](std::byte byte) { return byte != std::byte{0}; })) {
        written_behind_ = true;
        return;
      }
    }
    auto offset = static_cast<std::size_t>(damage_->at < address ? wal::kShortHeaderSize
                                                                 : damage_->at - address);
    offset = (offset + 7) / 8 * 8;
    for (offset += 8; offset + wal::kRecordHeaderSize <= page.size(); offset += 8) {
      const auto bytes = page.subspan(offset);
      const auto header = wal::decode_record_header(bytes.first<wal::kRecordHeaderSize>());
      if (header.total_length < wal::kRecordHeaderSize || header.total_length > bytes.size() ||
          header.previous < lowest || header.previous >= address + offset || header.crc == 0)
        continue;
      if (wal::record_crc(bytes.first(header.total_length)) == header.crc) {
        written_behind_ = true;
        return;
      }
    }
  }

  wal::RecordVerifier& verifier_;
  Lsn start_;
  std::array<std::byte, wal::kPageSize> page_{};
  std::size_t fill_ = 0;
  std::uint64_t at_ = 0;
  std::optional<wal::Damage> damage_;
  std::optional<wal::PageHeader> first_page_;
  bool written_behind_ = false;
};

}  // namespace

void SegmentCheck::check_lone_partial(std::size_t node) {
  const auto observer = new_observer(node);
  check_partial(node, std::nullopt, observer.get());
}

/// `verifier` stands at the end of the segment before; nullopt: nothing is known about that.
void SegmentCheck::check_partial(std::size_t index, std::optional<Verifier> verifier,
                                 Observer* observer) {
  const auto& node = plan_.nodes[index];
  const auto start = cluster_.segment_size.start(node.segno);
  if (!verifier)
    verifier.emplace(new_verifier(node, observer));
  else
    verifier->follow(node.timeline, history(node.timeline));
  const auto before = *verifier;
  const auto& file = node.partial.front();
  const auto name = file.to_string();

  std::optional<wal::Damage> earlier;
  for (std::size_t attempt_number = 0;; ++attempt_number) {
    auto attempt = before;
    PartialReader reader(attempt, start);
    try {
      archive::read_segment(directory_, file, cluster_.segment_size,
                            [&](std::span<const std::byte> wal) {
                              reader.take(wal);
                              return attempt_number > 0 || moved(wal.size());
                            });
      if (stopped()) return;
      reader.finish();
    } catch (const Error& error) {
      if (archive::is_gone(error)) {
        check_finished_meanwhile(index, before, observer);
        return;
      }
      add(error_finding(node, name, error, reader.given()));
      settle(index, {State::damaged, attempt.last_record_end(), name});
      return;
    }
    const auto& damage = reader.damage();
    const auto end = std::max(attempt.last_record_end(), std::min(start, before.last_record_end()));
    if (damage && reader.written_behind()) {
      // Read while a receiver was writing? Then the place where it broke off moves.
      if ((!earlier || earlier->found_at < damage->found_at) && attempt_number < kMostAttempts) {
        earlier = *damage;
        continue;
      }
      auto finding = damage_finding(node, name, *damage, reader.first_page());
      finding.what += "; yet WAL was written behind it";
      add(std::move(finding));
      settle(index, {State::damaged, end, name});
      return;
    }
    const bool header_wrong = damage && reader.first_page() && reader.first_page()->long_header &&
                              damage->found_at < start + wal::kLongHeaderSize &&
                              wal::major_version_of_magic(reader.first_page()->magic) &&
                              reader.first_page()->address != Lsn();
    if (header_wrong) {
      // Of a recycled file that was not yet written to, the address is an older one.
      const bool recycled = reader.first_page()->address < start &&
                            reader.first_page()->system_identifier == cluster_.system_identifier;
      if (!recycled) {
        add(damage_finding(node, name, *damage, reader.first_page()));
        settle(index, {State::damaged, end, name});
        return;
      }
    }
    {
      const std::lock_guard lock(mutex_);
      ++files_;
      records_ += attempt.records() - before.records();
    }
    const bool whole = !damage && reader.given() == cluster_.segment_size.bytes();
    settle(index,
           {whole ? State::sound : State::partial, whole ? start + reader.given() : end, name});
    // A receiver that finishes one segment may already write the next one. But if this one is not
    // whole, the next is out of reach.
    const auto next = std::find_if(
        node.children.begin(), node.children.end(),
        [&](std::size_t child) { return plan_.nodes[child].timeline == node.timeline; });
    if (next != node.children.end() && !whole && !plan_.nodes[*next].is_finished()) {
      Finding finding;
      finding.kind = FindingKind::damage;
      finding.file = name;
      finding.timeline = node.timeline;
      finding.lsn = end;
      finding.found_at = damage ? damage->found_at : end;
      finding.what = fmt::format("the .partial ends here, but {} is there, too",
                                 plan_.nodes[*next].partial.front().to_string());
      finding.hint = "Let the receiver fetch the segment again.";
      finding.loss = loss_of(node, end, cluster_.segment_size);
      add(std::move(finding));
    }
    follow_children(index, whole ? std::optional(attempt) : std::nullopt, std::nullopt, observer);
    return;
  }
}

/// A .partial that has its final name by now, and perhaps another form already.
void SegmentCheck::check_finished_meanwhile(std::size_t index, const Verifier& before,
                                            Observer* observer) {
  const auto& node = plan_.nodes[index];
  for (std::size_t i = 0; i < kMostAttempts; ++i) {
    const auto form = archive::find_finished(directory_, node.name);
    if (!form) break;
    const auto name = form->to_string();
    auto verifier = before;
    try {
      const auto reading = read_form(*form, verifier, false);
      {
        const std::lock_guard lock(mutex_);
        ++files_;
        records_ += verifier.records() - before.records();
      }
      if (reading.damage) add(damage_finding(node, name, *reading.damage, reading.first_page));
      settle(index, {reading.damage ? State::damaged : State::sound,
                     reading.damage ? verifier.last_record_end()
                                    : cluster_.segment_size.start(node.segno + 1),
                     name});
      follow_children(index, reading.damage ? std::nullopt : std::optional(verifier), std::nullopt,
                      observer);
      return;
    } catch (const Error& error) {
      if (archive::is_gone(error)) continue;  // compressed, converted or removed
      add(error_finding(node, name, error, verifier.position() - before.position()));
      settle(index, {State::damaged, verifier.last_record_end(), name});
      return;
    }
  }
  settle(index, {State::vanished, {}, {}});
}

/// What an old timeline's last segment says up to the switchpoint, the new timeline's copy says.
void SegmentCheck::check_switch_copy(const SwitchCopy& copy) {
  const auto& old_node = plan_.nodes[copy.old_node];
  const auto& new_node = plan_.nodes[copy.new_node];
  const auto start = cluster_.segment_size.start(old_node.segno);
  // As it is now: it may have been finished or compressed since it was listed.
  const auto file_of = [&](const Node& node) -> archive::SegmentFileName {
    const auto listed = node.is_finished() ? node.finished.front() : node.partial.front();
    if (directory_.find(listed.to_string())) return listed;
    return archive::find_finished(directory_, node.name).value_or(listed);
  };
  for (std::size_t i = 0; i < kMostAttempts; ++i)
    if (check_switch_copy(copy, file_of(old_node), file_of(new_node), start)) return;
}

/// False if one of the files is gone, and is to be looked for again.
bool SegmentCheck::check_switch_copy(const SwitchCopy& copy,
                                     const archive::SegmentFileName& old_file,
                                     const archive::SegmentFileName& new_file, wal::Lsn start) {
  const auto& old_node = plan_.nodes[copy.old_node];
  const auto& new_node = plan_.nodes[copy.new_node];
  auto upto = copy.switchpoint;
  try {
    for (const auto& [node, file] :
         {std::pair(&old_node, old_file), std::pair(&new_node, new_file)}) {
      if (!file.partial) continue;
      // Behind its end an unfinished file holds nothing.
      auto verifier = new_verifier(*node, nullptr);
      read_form(file, verifier, false);
      upto = std::min(upto, std::max(start, verifier.last_record_end()));
    }
    if (upto <= start) return true;
    const auto offset = archive::first_difference(directory_, old_file, new_file,
                                                  cluster_.segment_size, upto - start);
    if (!offset) return true;
    Finding finding;
    finding.kind = FindingKind::forms_differ;
    finding.file = old_file.to_string();
    finding.timeline = old_node.timeline;
    finding.offset = *offset;
    finding.found_at = start + *offset;
    finding.what = fmt::format(
        "{} must begin with the same WAL up to the switchpoint {}, and does "
        "not",
        new_file.to_string(), copy.switchpoint);
    finding.hint =
        "One of the two is damaged or the history file names a wrong switchpoint: compare them "
        "with "
        "the servers' pg_wal.";
    add(std::move(finding));
  } catch (const Error& error) {
    // Whatever cannot be read was told when its segment was checked.
    return !archive::is_gone(error) ||
           (!archive::find_finished(directory_, old_node.name) && old_node.is_finished()) ||
           (!archive::find_finished(directory_, new_node.name) && new_node.is_finished());
  }
  return true;
}

// ---- findings

Finding SegmentCheck::damage_finding(const Node& node, const std::string& file,
                                     const wal::Damage& damage,
                                     const std::optional<wal::PageHeader>& first_page) const {
  const auto& size = cluster_.segment_size;
  const auto start = size.start(node.segno);
  Finding finding;
  finding.kind = FindingKind::damage;
  finding.file = file;
  finding.timeline = node.timeline;
  finding.lsn = damage.at;
  finding.found_at = damage.found_at;
  if (damage.found_at >= start) finding.offset = damage.found_at - start;
  if (damage.record)
    finding.resource_manager = wal::resource_manager_name(damage.record->resource_manager);
  finding.what = damage.what;
  if (damage.at < start)
    finding.what += fmt::format("; the record begins in segment {}, and either may be damaged",
                                segment_of(node.timeline, damage.at));
  finding.hint =
      "A recovery ends here. Look for a sound copy of this segment in the pg_wal of the servers "
      "and "
      "in other archives; without one, take a new base backup.";
  finding.loss = loss_of(node, std::max(damage.at, start), size);

  // In the first page header, the WAL itself may be sound and only in the wrong place.
  const bool in_first_header =
      damage.found_at >= start && damage.found_at < start + wal::kLongHeaderSize;
  if (!in_first_header || !first_page || !first_page->long_header ||
      !wal::major_version_of_magic(first_page->magic) || first_page->page_size != wal::kPageSize)
    return finding;
  if (cluster_.system_identifier != 0 &&
      first_page->system_identifier != cluster_.system_identifier) {
    finding.kind = FindingKind::other_cluster;
    finding.what = fmt::format("WAL of another cluster: expected system identifier {}, found {}",
                               cluster_.system_identifier, first_page->system_identifier);
    finding.hint =
        "Two clusters must not share an archive. Move the file away and look for this cluster's "
        "own segment.";
    return finding;
  }
  const bool elsewhere = first_page->address != start && first_page->address.valid() &&
                         size.offset(first_page->address) == 0;
  if (first_page->segment_size == size.bytes() &&
      (elsewhere || first_page->timeline > node.timeline ||
       (first_page->address == start && damage.found_at == start + 4))) {
    finding.kind = FindingKind::wrong_name;
    finding.what = fmt::format(
        "the file's name does not fit its WAL, whose first page is of timeline {} at {} (segment "
        "{})",
        first_page->timeline, first_page->address,
        wal::SegmentName(first_page->timeline, size.segno(first_page->address), size));
    finding.hint = "Move the file away and look for the segment that belongs here.";
  }
  return finding;
}

Finding SegmentCheck::error_finding(const Node& node, const std::string& file, const Error& error,
                                    std::uint64_t given) const {
  Finding finding;
  finding.kind =
      error.kind() == ErrorKind::damage ? FindingKind::broken_file : FindingKind::unreadable;
  finding.file = file;
  finding.timeline = node.timeline;
  const auto start = cluster_.segment_size.start(node.segno);
  finding.lsn = start + std::min(given, cluster_.segment_size.bytes());
  finding.offset = given;
  finding.what = error.what();
  finding.hint = !error.hint().empty() ? error.hint()
                 : finding.kind == FindingKind::unreadable
                     ? "Check owner and mode of the file, and the disk (dmesg)."
                     : "Look for a sound copy of this segment in the pg_wal of the servers and in "
                       "other archives; without one, take a new base backup.";
  finding.loss = loss_of(node, start, cluster_.segment_size);
  return finding;
}

void SegmentCheck::add(Finding finding) {
  const std::lock_guard lock(mutex_);
  // A border and the segment behind it may both find the same byte.
  const auto same = [&](const Finding& known) {
    return known.kind == finding.kind && known.file == finding.file &&
           known.found_at == finding.found_at && known.offset == finding.offset;
  };
  if (std::none_of(findings_.begin(), findings_.end(), same))
    findings_.push_back(std::move(finding));
}

void SegmentCheck::note(std::string text) {
  const std::lock_guard lock(mutex_);
  notes_.push_back(std::move(text));
}

void SegmentCheck::settle(std::size_t node, Outcome outcome) {
  const std::lock_guard lock(mutex_);
  outcomes_[node] = std::move(outcome);
}

bool SegmentCheck::moved(std::uint64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    bytes_ += bytes;
  }
  if (advance_) advance_(bytes);
  if (stop_ && stop_()) stopped_ = true;
  return !stopped_;
}

Outcome SegmentCheck::outcome(std::size_t node) const {
  auto outcome = outcomes_[node];
  if (const auto broken = broken_borders_.find(node); broken != broken_borders_.end()) {
    outcome.state = State::damaged;
    outcome.end = broken->second;
  }
  return outcome;
}

// ---- helpers

wal::SegmentName SegmentCheck::segment_of(wal::TimelineId timeline, Lsn lsn) const {
  const auto segno = cluster_.segment_size.segno(lsn);
  if (const auto* const known = history(timeline))
    timeline = archive::timeline_of_segment(*known, segno, cluster_.segment_size);
  return {timeline, segno, cluster_.segment_size};
}

SegmentCheck::Verifier SegmentCheck::new_verifier(const Node& node,
                                                  wal::RecordObserver* observer) const {
  Verifier::Options options;
  options.segment_size = cluster_.segment_size;
  options.timeline = node.timeline;
  options.system_identifier = cluster_.system_identifier;
  options.server_major = cluster_.server_major;
  options.observer = observer;
  options.history = history(node.timeline);
  return Verifier(options, cluster_.segment_size.start(node.segno));
}

std::unique_ptr<SegmentCheck::Observer> SegmentCheck::new_observer(std::size_t node) {
  auto observer = std::make_unique<Observer>(*this, plan_.nodes[node]);
  if (!observer->needed()) observer.reset();
  return observer;
}

const wal::TimelineHistory* SegmentCheck::history(wal::TimelineId timeline) const {
  const auto found = histories_.find(timeline);
  return found == histories_.end() ? nullptr : &found->second;
}

}  // namespace weir::verify
