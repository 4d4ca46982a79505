#include "cli/shared/stored_manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "store/cluster_record.h"
#include "store/ledger/mark.h"
#include "store/shelf/near_shelf.h"

namespace weir::cli {

namespace {

/// The histories of timelines that have segments; they are not encrypted.
archive::Timelines timelines_of(const store::StoredObjects& objects, io::Shelf& stored) {
  archive::Listing listing;
  for (const auto& [name, object] : objects) {
    const auto segment = store::segment_of_object(name);
    if (segment && segment->timeline() > 1 &&
        (listing.histories.empty() || listing.histories.back().timeline != segment->timeline()))
      listing.histories.push_back({segment->timeline()});
  }
  return archive::Timelines::read(stored, listing);
}

void add_acknowledged(io::Shelf& archive, std::vector<archive::Loss>& known) {
  for (auto& loss : archive::read_losses(archive, archive::list_archive(archive)))
    if (loss.kind == archive::Loss::Kind::hole && loss.acknowledged && !loss.complaint)
      known.push_back(std::move(loss));
}

}  // namespace

std::optional<ManifestLook> look_at_manifests(StoredArchive& stored,
                                              const ManifestRequest& request) {
  auto& store = stored.opened().store();
  const auto& layout = stored.opened().layout();
  const auto& patience = stored.patience();
  store::ManifestQuestion question{.keys_given = !request.keys.empty(),
                                   .expected_heads = request.expected_heads,
                                   .deep = request.deep};
  if (request.beside != nullptr) {
    const auto mark = store::read_mark(*request.beside);
    const auto memory = store::read_manifest_memory(*request.beside);
    const auto head = memory ? store::stored_head(*memory) : std::nullopt;
    if (mark && head && mark->store == stored.opened().identity())
      question.expected_heads.push_back(*head);
  }
  ManifestLook look;
  look.chains = store::read_manifests(store, layout, request.keys, patience);
  if (look.chains.empty() && !question.keys_given && question.expected_heads.empty())
    return std::nullopt;
  // Read after the chains: the listed files were stored before.
  look.objects = store::list_stored(store, layout, patience);
  const auto cluster = insist(patience, [&] { return store::read_cluster(store, layout); });
  if (cluster) question.segment_size = cluster->segment_size;
  // Not the archive's own: its listing may be older.
  store::NearShelf shelf([&]() -> store::ObjectStore& { return store; },
                         store.name_of(layout.wal_prefix()), layout, patience, 1);
  question.timelines = timelines_of(look.objects, shelf);
  look.report = store::check_manifests(look.chains, look.objects, question);
  if (!look.report.sound()) {
    question.known_holes = request.accepted;
    add_acknowledged(shelf, question.known_holes);
    if (request.beside != nullptr) add_acknowledged(*request.beside, question.known_holes);
  }
  // Lines of files stored between the two listings, or of a prune since then.
  if ((question.keys_given && look.report.untold > 0) || !look.report.sound()) {
    const auto before =
        std::exchange(look.chains, store::read_manifests(store, layout, request.keys, patience));
    const auto older = store::told_objects(before, question.keys_given);
    question.older = &older;
    look.report = store::check_manifests(look.chains, look.objects, question);
  }
  if (question.keys_given && look.chains.empty())
    look.report.findings.emplace_back("a manifest public key was given, but there is no manifest");
  if (!cluster && !look.chains.empty())
    look.report.findings.push_back(fmt::format(
        "{}, the record of the cluster, is missing: without the segment size, missing segments are "
        "not found (a receiver writes it again, and \"pgweir store push\" with the next segment)",
        store.name_of(store::key_of_cluster(layout))));
  return look;
}

void look_deeply(StoredArchive& stored, const ManifestRequest& request, ManifestLook& look,
                 const store::ReadDigests& read, std::size_t jobs,
                 const std::function<bool()>& stop) {
  const auto told = store::told_objects(look.chains, !request.keys.empty());
  if (!store::compare_deeply(stored.opened().store(), {.seed = random_bits()}, look.objects, told,
                             read, jobs, look.report, stop))
    throw Error(ErrorKind::retry, "stopped before all objects were compared");
}

}  // namespace weir::cli
