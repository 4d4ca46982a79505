#include "manifest_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "lineage.h"
#include "store/ledger/manifest_chain.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_report.h"
#include "store/ledger/mark.h"
#include "wal/timeline_history.h"

namespace weir::sim {

namespace {

using namespace std::chrono_literals;

const store::Patience kNoPatience{.retry_for = 0ms, .seed = 0};

std::vector<store::ManifestChain> chains_of(SimStore& store) {
  return store::read_manifests(store, store.layout(), {}, kNoPatience);
}

bool tells_of(const store::ToldObjects& told, wal::SegmentName segment) {
  const auto name = segment.to_string();
  const auto at = told.lower_bound(name);
  return at != told.end() && at->first.starts_with(name);
}

}  // namespace

void check_manifests(SimStore& store, io::Directory& archive) {
  const auto chains = chains_of(store);
  for (const auto& chain : chains)
    if (!chain.broken.empty())
      throw Violation{"P19", fmt::format("manifest {}: {}", chain.id, chain.broken.front())};
  // Where no condition is heeded an older one may have come over a newer one.
  const auto memory = store::read_manifest_memory(archive);
  const auto mark = store::read_mark(archive);
  if (!memory || !mark || store.manifest_came_late()) return;
  const auto ours = std::find_if(chains.begin(), chains.end(),
                                 [&](const auto& chain) { return chain.id == memory->id; });
  if (memory->lines > 0 &&
      (ours == chains.end() ||
       std::find(ours->hashes.begin(), ours->hashes.end(), memory->head) == ours->hashes.end()))
    throw Violation{"P19", fmt::format("the archive remembers {} lines of manifest {}, and the "
                                       "store has {} and not the last of them",
                                       memory->lines, memory->id,
                                       ours == chains.end() ? 0 : ours->lines.size())};
  const auto told = store::told_objects(chains, false);
  for (const auto& run : mark->sent)
    for (auto segno = run.first.segno(kSegment); segno <= run.last.segno(kSegment); ++segno) {
      const wal::SegmentName segment(run.first.timeline(), segno, kSegment);
      if (!tells_of(told, segment))
        throw Violation{"P19", fmt::format("{} counts as sent, and no line of a manifest tells of "
                                           "it",
                                           segment)};
    }
  for (const auto timeline : mark->histories)
    if (!told.contains(wal::history_name(timeline)))
      throw Violation{"P19", fmt::format("the history of timeline {} counts as sent, and no line "
                                         "of a manifest tells of it",
                                         timeline)};
}

void check_changed_store(SimStore& store, io::Directory& archive, Random& random, Story& story) {
  const auto memory = store::read_manifest_memory(archive);
  // (What was lost may have come again in another form, or by a request that was given up.)
  if (!memory || memory->lines == 0 || store.has_been_losing() || store.manifest_came_late())
    return;
  const auto look = [&] {
    const auto chains = chains_of(store);
    return store::check_manifests(chains, store::list_stored(store, store.layout(), kNoPatience),
                                  {.expected_heads = {memory->head}});
  };
  if (const auto report = look(); !report.sound())
    throw Violation{
        "P19", fmt::format("a sound store is found to be changed: {}", report.findings.front())};
  const auto told = store::told_objects(chains_of(store), false);
  const auto objects = store::list_stored(store, store.layout(), kNoPatience);
  std::vector<std::string> keys;
  for (const auto& [name, object] : objects)
    if (told.contains(name)) keys.push_back(object.key);
  if (keys.empty()) return;
  auto key = keys[random.below(keys.size())];
  const auto fault = random.below(3);
  if (fault == 0) {
    story.tell("somebody removes {} from the store", key);
    static_cast<void>(store.remove(std::span(&key, 1)));
  } else {
    // The newest object is the one that has the last line.
    if (fault == 2)
      key = store::manifest_key(store.layout(), memory->id,
                                (memory->lines - 1) / store::kManifestLines);
    auto text = store::get_text(store, key, store::kLargestManifest).value();
    if (fault == 1)
      text[random.below(text.size())] ^= 1;
    else
      text.erase(text.rfind('\n', text.find(memory->tail.back())) + 1);
    story.tell("somebody changes {}", key);
    store.spoil(key, std::as_bytes(std::span(text)));
  }
  if (look().sound())
    throw Violation{"P19", fmt::format("{} is not as it was, and nobody finds that", key)};
}

}  // namespace weir::sim
