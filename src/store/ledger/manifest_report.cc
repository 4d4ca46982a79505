#include "store/ledger/manifest_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "archive/find_losses.h"
#include "archive/listing.h"

namespace weir::store {

namespace {

using Kind = ManifestEntry::Kind;

/// Maximum number of findings of a kind; the rest is counted.
constexpr std::size_t kTold = 20;

class Check {
 public:
  Check(std::span<const ManifestChain> chains, const StoredObjects& objects,
        const ManifestQuestion& question)
      : chains_(chains),
        objects_(objects),
        question_(question),
        told_(told_objects(chains, question.keys_given)),
        known_holes_(question.known_holes) {}

  ManifestReport run() {
    look_at_chains();
    find_begin();
    look_for_heads();
    find_gaps();
    compare();
    find_untold();
    find_frozen();
    cover();
    return std::move(report_);
  }

 private:
  [[nodiscard]] bool before_begin(wal::SegmentName segment) const {
    return is_pruned(segment, begins_);
  }
  /// One of many of its kind.
  void find(std::size_t& count, const std::string& text) {
    if (++count <= kTold) report_.findings.push_back(text);
  }
  void and_more(std::size_t count, const char* what) {
    if (count > kTold)
      report_.findings.push_back(fmt::format("and {} more {}", count - kTold, what));
  }

  void look_at_chains() {
    std::set<std::uint64_t> clusters;
    for (const auto& chain : chains_) {
      report_.chains.push_back({chain.id, chain.length(), chain.head(),
                                chain.signed_by ? to_string(*chain.signed_by) : std::string(),
                                chain.proved});
      for (const auto& what : chain.broken)
        report_.findings.push_back(fmt::format("manifest {}: {}", chain.id, what));
      if (question_.keys_given && !chain.proved)
        report_.findings.push_back(
            fmt::format("manifest {} is {}: its lines are ignored", chain.id,
                        chain.signed_by ? "signed by key " + to_string(*chain.signed_by) +
                                              ", which matches none of the given public keys"
                                        : "not signed"));
      else if (!chain.signed_by)
        report_.remarks.push_back(
            fmt::format("manifest {} is not signed: anyone who can write to the store can change "
                        "it together with the objects (--manifest-key)",
                        chain.id));
      else if (!question_.keys_given)
        report_.remarks.push_back(
            fmt::format("manifest {} is signed by key {}; the signature was not checked "
                        "(--manifest-public-key)",
                        chain.id, to_string(*chain.signed_by)));
      for (const auto& line : chain.lines) clusters.insert(line.entry.system_identifier);
    }
    if (clusters.size() > 1)
      report_.findings.push_back(
          fmt::format("the manifests list objects of {} clusters; only one can use this prefix",
                      clusters.size()));
  }

  void find_begin() {
    if (const auto begin = recorded_begin(chains_, question_.keys_given))
      report_.begin = begin->to_string();
    begins_ = recorded_begins(chains_, question_.keys_given);
    // A prune that has cut a chain has verified that it includes what earlier prunes had seen. It
    // may have another key, and so another chain.
    std::map<std::string, std::uint64_t> newest;
    for (const auto& chain : chains_)
      for (const auto& line : chain.believed(question_.keys_given)) note_cut(line.entry, newest);
    for (const auto& chain : chains_) {
      std::map<std::string, std::uint64_t> until_then;
      for (const auto& line : chain.believed(question_.keys_given)) {
        const auto& entry = line.entry;
        note_cut(entry, until_then);
        if (entry.kind == Kind::begin && until_then[entry.chain] == newest[entry.chain] &&
            !has_line(entry.chain, entry.after))
          report_.findings.push_back(
              fmt::format("manifest {} does not have the line that was its last one at a prune "
                          "({}): it was truncated or replaced",
                          entry.chain, entry.after));
      }
    }
  }

  /// Objects in front of each chain that prunes have cut off.
  static void note_cut(const ManifestEntry& entry, std::map<std::string, std::uint64_t>& cuts) {
    if (entry.kind != Kind::cut) return;
    auto& cut = cuts[entry.chain];
    cut = std::max(cut, entry.size);
  }

  [[nodiscard]] bool has_line(const std::string& id, const std::string& hash) const {
    return std::any_of(chains_.begin(), chains_.end(), [&](const ManifestChain& chain) {
      return (id.empty() || chain.id == id) &&
             (hash == genesis_of(chain.id) || hash == chain.beginning() ||
              std::find(chain.hashes.begin(), chain.hashes.end(), hash) != chain.hashes.end());
    });
  }

  void look_for_heads() {
    for (const auto& head : question_.expected_heads)
      if (!has_line("", head) && !seen_by_prune(head))
        report_.findings.push_back(
            fmt::format("no manifest has the line {}, which was its head once: it was rolled back "
                        "or replaced{}",
                        head,
                        std::any_of(chains_.begin(), chains_.end(),
                                    [](const ManifestChain& chain) { return chain.cut; })
                            ? ", or a prune has removed that line (expect a newer head)"
                            : ""));
  }

  /// A line removed since, which a prune had found at its place.
  [[nodiscard]] bool seen_by_prune(const std::string& hash) const {
    return std::any_of(chains_.begin(), chains_.end(), [&](const ManifestChain& chain) {
      const auto lines = chain.believed(question_.keys_given);
      return is_prune_chain(chain.id) &&
             std::any_of(lines.begin(), lines.end(),
                         [&](const ManifestLine& line) { return line.entry.after == hash; });
    });
  }

  void compare() {
    std::size_t gone = 0;
    std::size_t gone_in_front = 0;
    std::size_t known_gone = 0;
    std::size_t changed = 0;
    const auto front = first_there();
    for (const auto& [name, lines] : told_) {
      const auto segment = segment_of_object(name);
      const auto object = objects_.find(name);
      if (object == objects_.end()) {
        if (segment && (before_begin(*segment) || has_told_form(*segment))) continue;
        if (question_.older != nullptr && !question_.older->contains(name)) continue;
        if (segment && is_in_known_hole(*segment)) {
          ++known_gone;
          continue;
        }
        find(gone, name + " is in the manifest, but missing from the store");
        if (segment && front && place_of(*segment) < place_of(*front)) ++gone_in_front;
        continue;
      }
      ++report_.objects;
      const auto fit = fit_of(as_compared(object->second, lines), lines);
      if (fit.by_size && !question_.deep) ++report_.by_size;
      if (!fit.same && !fitted_before(object->second, name))
        find(changed, fmt::format("{} does not match the manifest: {}", name, fit.difference));
      std::optional<wal::Lsn> padded;
      for (const auto* const line : lines)
        if (line->kind == Kind::padded) padded = std::max(padded.value_or(line->last), line->last);
      if (padded)
        report_.remarks.push_back(
            fmt::format("{}: padded after {}: it was published as a partial segment (\"pgweir "
                        "store publish-partial\"), and a recovery ends there",
                        name, *padded));
      if (std::all_of(lines.begin(), lines.end(),
                      [](const ManifestEntry* line) { return line->kind == Kind::seen; }))
        ++report_.not_compared;
    }
    and_more(gone, "are missing");
    if (known_gone > 0)
      report_.remarks.push_back(
          fmt::format("{} objects in the manifest are missing: they are in holes that are "
                      "acknowledged or accepted",
                      known_gone));
    if (gone > 0 && gone == gone_in_front)
      report_.remarks.push_back(
          fmt::format("all missing segments are before {}, the first one in the store: if the "
                      "retention of another program removed them, \"pgweir prune --store ... "
                      "--keep-from {}\" records that in the manifest",
                      *front, *front));
    and_more(changed, "do not match the manifest");
    if (report_.by_size > 0)
      report_.remarks.push_back(
          fmt::format("{} objects were compared by size only: the store does not return their "
                      "MD5 (--deep reads them)",
                      report_.by_size));
    if (report_.not_compared > 0)
      report_.remarks.push_back(
          fmt::format("{} objects are present, but not compared: they are encrypted, and the "
                      "archiver that listed them did not have the key that compares",
                      report_.not_compared));
  }

  [[nodiscard]] ObjectEntry as_compared(ObjectEntry object,
                                        std::span<const ManifestEntry* const> lines) const {
    if (question_.deep && has_sha256(lines)) object.md5.clear();
    return object;
  }

  /// It was replaced after it was listed, as the complete segment does with a padded one.
  [[nodiscard]] bool fitted_before(const ObjectEntry& object, const std::string& name) const {
    if (question_.older == nullptr) return false;
    const auto lines = question_.older->find(name);
    return lines != question_.older->end() && fit_of(object, lines->second).same;
  }

  /// By position.
  [[nodiscard]] std::optional<wal::SegmentName> first_there() const {
    std::optional<wal::SegmentName> first;
    for (const auto& [name, object] : objects_)
      if (const auto segment = segment_of_object(name);
          segment && (!first || place_of(*segment) < place_of(*first)))
        first = segment;
    return first;
  }

  /// Sent again in another form.
  [[nodiscard]] bool has_told_form(wal::SegmentName segment) const {
    const auto name = segment.to_string();
    for (auto at = told_.lower_bound(name); at != told_.end() && at->first.starts_with(name); ++at)
      if (objects_.contains(at->first)) return true;
    return false;
  }

  void find_untold() {
    if (chains_.empty()) return;
    std::size_t beside = 0;
    std::size_t behind = 0;
    std::string first;
    for (const auto& [name, object] : objects_) {
      if (told_.contains(name)) continue;
      ++report_.untold;
      const auto segment = segment_of_object(name);
      // A recovery might use it.
      if (segment && !before_begin(*segment) && is_told(*segment))
        find(beside,
             name + " is not listed in the manifest, which lists the segment in another format");
      else if (question_.keys_given && (!segment || is_behind_all_told(*segment)))
        find(behind, name +
                         " is not listed in the manifest, and is newer than all WAL that the "
                         "public key proves: a recovery would restore it");
      else if (first.empty())
        first = name;
    }
    and_more(beside, "are not listed in the manifest");
    and_more(behind, "are newer than all WAL that the public key proves");
    if (report_.untold > beside + behind)
      report_.remarks.push_back(
          fmt::format("the manifest does not list {} objects, {} and others: they are older than "
                      "it, or were stored just now (--deep reads them)",
                      report_.untold - beside - behind, first));
  }

  /// Not an error: WAL that is old enough may be kept there.
  void find_frozen() {
    std::string last;
    for (const auto& [name, object] : objects_) {
      const auto segment = segment_of_object(name);
      if (!object.frozen || (segment && before_begin(*segment))) continue;
      if (++report_.frozen == 1) report_.first_frozen = name;
      last = name;
    }
    if (report_.frozen > 0)
      report_.remarks.push_back(
          fmt::format("{} objects, the last of them {}, are in an archive class or tier: a "
                      "recovery stops at each one until it is restored in the store",
                      report_.frozen, last));
  }

  /// On its timeline no line has this or a later segment.
  [[nodiscard]] bool is_behind_all_told(wal::SegmentName segment) const {
    const auto at = told_.upper_bound(segment.to_string());
    if (at == told_.end()) return true;
    const auto next = segment_of_object(at->first);
    return !next || next->timeline() != segment.timeline();
  }

  [[nodiscard]] bool is_told(wal::SegmentName segment) const {
    const auto name = segment.to_string();
    const auto at = told_.lower_bound(name);
    return at != told_.end() && at->first.starts_with(name);
  }

  /// By names alone, as "pgweir status" does.
  void find_gaps() {
    if (!question_.segment_size) return;
    const auto& size = *question_.segment_size;
    std::size_t gaps = 0;
    archive::Listing listing;
    std::optional<wal::SegmentName> furthest;  // of its timeline and of all older ones
    for (const auto& [name, object] : objects_) {
      const auto segment = segment_of_object(name);
      if (!segment || !segment->fits(size) || before_begin(*segment)) continue;
      const bool begins = listing.segments.empty() ||
                          listing.segments.back().name.segment.timeline() != segment->timeline();
      // Without its history it is unknown where a timeline starts. But each starts on an older one,
      // in its last segment or in the one after it.
      if (begins && furthest && !has_history(segment->timeline()) &&
          furthest->segno(size) + 1 < segment->segno(size))
        find(gaps,
             fmt::format("{} segments are missing between {} and {}",
                         segment->segno(size) - furthest->segno(size) - 1, *furthest, *segment));
      listing.segments.push_back({{*segment}, std::nullopt});
      if (!furthest || furthest->segno(size) < segment->segno(size)) furthest = segment;
    }
    const auto all = archive::find_holes(listing, question_.timelines, size, {});
    for (auto& known : known_holes_)
      for (const auto& hole : all)
        if (hole.id() == known.id() && hole.end == known.end)
          known.next_timeline = hole.next_timeline;
    std::uint64_t missing = 0;
    for (const auto& hole : all) missing += hole.bytes();
    for (const auto& hole : archive::find_holes(listing, question_.timelines, size, known_holes_)) {
      find(gaps, fmt::format("{} segments are missing, {} to {}",
                             (hole.bytes() + size.bytes() - 1) / size.bytes(), hole.first_segment(),
                             hole.last_segment()));
      missing -= hole.bytes();
    }
    and_more(gaps, "gaps");
    if (missing >= size.bytes())
      report_.remarks.push_back(
          fmt::format("{} segments are missing in holes that are acknowledged or accepted",
                      missing / size.bytes()));
  }

  [[nodiscard]] bool is_in_known_hole(wal::SegmentName segment) const {
    if (!question_.segment_size || !segment.fits(*question_.segment_size)) return false;
    const auto& size = *question_.segment_size;
    const auto history = question_.timelines.history(segment.timeline())
                             .value_or(wal::TimelineHistory(segment.timeline()));
    return std::any_of(known_holes_.begin(), known_holes_.end(), [&](const archive::Loss& hole) {
      const auto needed = archive::needed_along(hole, history, question_.timelines, size);
      return std::any_of(needed.begin(), needed.end(), [&](const archive::Loss::Range& range) {
        return range.begin <= segment.start(size) && segment.start(size) < range.end;
      });
    });
  }

  [[nodiscard]] bool has_history(wal::TimelineId timeline) const {
    const auto history = question_.timelines.history(timeline);
    return history && !history->ancestors().empty();
  }

  void cover() {
    std::set<wal::SegmentName> counted;
    std::map<wal::TimelineId, ManifestReport::Coverage> timelines;
    for (const auto& [name, lines] : told_) {
      const auto segment = segment_of_object(name);
      if (!segment || before_begin(*segment) || !objects_.contains(name)) continue;
      auto& line = timelines[segment->timeline()];
      line.timeline = segment->timeline();
      if (line.first.empty()) line.first = segment->to_string();
      line.last = segment->to_string();
      if (counted.insert(*segment).second) ++line.segments;
      const auto& entry = *lines.back();
      if (line.from == wal::Lsn() || (entry.first != wal::Lsn() && entry.first < line.from))
        line.from = entry.first;
      line.to = std::max(line.to, entry.last);
      if (entry.commit && (!line.commit || *line.commit < *entry.commit))
        line.commit = entry.commit;
    }
    for (auto& [timeline, line] : timelines) report_.coverage.push_back(std::move(line));
  }

  const std::span<const ManifestChain> chains_;
  const StoredObjects& objects_;
  const ManifestQuestion& question_;
  const ToldObjects told_;
  std::vector<archive::Loss> known_holes_;
  std::vector<wal::SegmentName> begins_{};  ///< where it starts
  ManifestReport report_{};
};

/// A padded segment counts until a line has the complete one, in any form: then it must no longer
/// be there.
void forget_replaced(ToldObjects& told) {
  const auto is_padded = [](const ManifestEntry* line) { return line->kind == Kind::padded; };
  const auto is_true = [](const ManifestEntry* line) {
    return line->kind != Kind::padded && line->kind != Kind::rewrapped;
  };
  std::set<wal::SegmentName> replaced;
  for (const auto& [name, lines] : told)
    if (const auto segment = segment_of_object(name);
        segment && std::any_of(lines.begin(), lines.end(), is_true))
      replaced.insert(*segment);
  for (auto each = told.begin(); each != told.end();) {
    auto& [name, lines] = *each;
    const auto segment = segment_of_object(name);
    if (segment && replaced.contains(*segment)) std::erase_if(lines, is_padded);
    each = lines.empty() ? told.erase(each) : std::next(each);
  }
}

}  // namespace

bool has_sha256(std::span<const ManifestEntry* const> lines) {
  return std::any_of(lines.begin(), lines.end(),
                     [](const ManifestEntry* line) { return !line->sha256.empty(); });
}

std::optional<wal::SegmentName> segment_of_object(std::string_view name) {
  if (name.ends_with(kAgeSuffix)) name.remove_suffix(kAgeSuffix.size());
  const auto file = archive::SegmentFileName::parse(name);
  return file && !file->partial ? std::optional(file->segment) : std::nullopt;
}

std::optional<wal::SegmentName> recorded_begin(std::span<const ManifestChain> chains,
                                               bool keys_given) {
  std::optional<wal::SegmentName> begin;
  for (const auto& chain : chains) {
    for (const auto& line : chain.believed(keys_given)) {
      if (line.entry.kind != Kind::begin) continue;
      const auto segment = wal::SegmentName::parse(line.entry.name);
      if (segment && (!begin || place_of(*segment) >= place_of(*begin))) begin = segment;
    }
  }
  return begin;
}

std::vector<wal::SegmentName> recorded_begins(std::span<const ManifestChain> chains,
                                              bool keys_given) {
  std::map<wal::TimelineId, std::string> places;
  for (const auto& chain : chains) {
    wal::TimelineId newest = 0;  // an earlier prune has removed WAL of it
    for (const auto& line : chain.believed(keys_given)) {
      if (line.entry.kind != Kind::begin) continue;
      const auto begin = wal::SegmentName::parse(line.entry.name);
      if (!begin) continue;
      newest = std::max(newest, begin->timeline());
      auto& place = places[newest];
      place = std::max(place, place_of(*begin));
    }
  }
  std::vector<wal::SegmentName> begins;
  for (const auto& [timeline, place] : places)
    if (const auto begin = wal::SegmentName::parse(fmt::format("{:08X}", timeline) + place))
      begins.push_back(*begin);
  return begins;
}

bool is_pruned(wal::SegmentName segment, std::span<const wal::SegmentName> begins) {
  return std::any_of(begins.begin(), begins.end(), [&](wal::SegmentName begin) {
    return segment.timeline() <= begin.timeline() && place_of(segment) < place_of(begin);
  });
}

ObjectFit fit_of(const ObjectEntry& object, std::span<const ManifestEntry* const> lines) {
  bool sized = false;
  for (const auto* const line : lines) {
    if (line->size != object.size) continue;
    sized = true;
    const bool by_size = line->md5.empty() || object.md5.empty();
    if (by_size || line->md5 == object.md5) return {.same = true, .by_size = by_size};
  }
  return {.difference =
              sized ? fmt::format("its MD5 is {}, expected {}", object.md5, lines.back()->md5)
                    : fmt::format("it has {} bytes, expected {}", object.size, lines.back()->size)};
}

ToldObjects told_objects(std::span<const ManifestChain> chains, bool keys_given) {
  ToldObjects told;
  for (const auto& chain : chains) {
    std::map<std::string, const ManifestEntry*> newest;
    for (const auto& line : chain.believed(keys_given)) {
      // A prune lists histories again, and no segments. It signs what its chain has.
      if (is_prune_chain(chain.id) && segment_of_object(line.entry.name)) continue;
      // All of rewrap: an object is replaced after its line was written.
      if (line.entry.kind == Kind::rewrapped ||
          (line.entry.kind == Kind::padded && is_rewrap_chain(chain.id)))
        told[line.entry.name].push_back(&line.entry);
      else if (line.entry.kind != Kind::begin && line.entry.kind != Kind::cut)
        newest[line.entry.name] = &line.entry;
    }
    for (const auto& [name, entry] : newest) told[name].push_back(entry);
  }
  forget_replaced(told);
  return told;
}

ManifestReport check_manifests(std::span<const ManifestChain> chains, const StoredObjects& objects,
                               const ManifestQuestion& question) {
  return Check(chains, objects, question).run();
}

std::string to_text(const ManifestReport& report) {
  std::string text;
  for (const auto& chain : report.chains)
    text += fmt::format("manifest {}: {} lines, {}; head {}\n", chain.id, chain.lines,
                        chain.signed_by.empty() ? std::string("not signed")
                                                : fmt::format("signed by key {}{}", chain.signed_by,
                                                              chain.proved ? ", proved" : ""),
                        chain.head);
  for (const auto& line : report.coverage)
    text += fmt::format("timeline {}: {} segments, {} to {}, {} to {}{}\n", line.timeline,
                        line.segments, line.first, line.last, line.from, line.to,
                        line.commit ? ", last commit " + line.commit->to_string() : "");
  if (!report.begin.empty()) text += fmt::format("pruned: begins at {}\n", report.begin);
  text += fmt::format("{} listed objects are in the store, and {} that are not listed\n",
                      report.objects, report.untold);
  for (const auto& remark : report.remarks) text += "note: " + remark + "\n";
  for (const auto& finding : report.findings) text += "FOUND: " + finding + "\n";
  return text;
}

std::string to_json(const ManifestReport& report) {
  using Json = nlohmann::ordered_json;
  Json json;
  json["sound"] = report.sound();
  json["objects"] = report.objects;
  json["by_size_only"] = report.by_size;
  json["not_compared"] = report.not_compared;
  json["untold"] = report.untold;
  if (!report.begin.empty()) json["begin"] = report.begin;
  json["chains"] = Json::array();
  for (const auto& chain : report.chains)
    json["chains"].push_back(
        {{"chain", chain.id},
         {"lines", chain.lines},
         {"head", chain.head},
         {"signed_by", chain.signed_by.empty() ? Json() : Json(chain.signed_by)},
         {"proved", chain.proved}});
  json["timelines"] = Json::array();
  for (const auto& line : report.coverage)
    json["timelines"].push_back(
        {{"timeline", line.timeline},
         {"first", line.first},
         {"last", line.last},
         {"segments", line.segments},
         {"from", line.from.to_string()},
         {"to", line.to.to_string()},
         {"last_commit", line.commit ? Json(line.commit->to_string()) : Json()}});
  json["findings"] = report.findings;
  json["remarks"] = report.remarks;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weir::store
