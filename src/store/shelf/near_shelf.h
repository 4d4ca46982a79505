#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "io/shelf.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/ledger/signify.h"
#include "store/object_store.h"
#include "store/sealed/age_keys.h"
#include "store/shelf/open_object.h"
#include "wal/segment.h"

namespace weir::store {

/// An archive in a store, for all readers of archives: its segments, histories and loss records
/// under their names in a directory; other names do not exist. Only names() has files in formats
/// that are not supported (other_forms.h). It caches what it has seen and sends
/// few requests, since a recovery asks for one file after the other: one listing by a segment's
/// name finds all its forms, expected files are fetched whole, by one request, and names() may be
/// incomplete (look_around()). Cached answers are not refreshed, since objects are written once: so
/// this is for a command, not for a long-running process.
///
/// Temporary failures are retried for some time; then, and for all other errors, StoreError: what
/// could not be checked is never reported as absent (P9). Does not own its arguments, nor the
/// result of `open`, which is called when the store is first needed. Any thread; its files, like
/// all Bytes, one thread each.
///
/// A partial segment (open_object.h) appears as "N.zst.partial": the object that extends furthest
/// of the valid ones. names() includes it if it has all names, and if there is no complete segment.
/// If objects of two archivers disagree, opening one of them throws Error{conflict}.
class NearShelf final : public io::Shelf, private io::Identities {
 public:
  using Open = std::function<ObjectStore&()>;
  /// Keys to decrypt with (age_file.h): "N.zst.age" appears as "N.zst". Without the right key it
  /// also exists, and opening it throws Error{refused}.
  using Identities = std::vector<AgeIdentity>;
  /// `path` is for messages. `ahead`: number of names listed when one is asked for, since the
  /// following ones will be needed, too. With `keys`, a segment or history is returned only if a
  /// line that one of them proves has its SHA-256; Error{retry} if there is no line (it may not be
  /// written yet), Error{damage} if a line has another digest. Partial segments have no lines: they
  /// do not exist.
  NearShelf(Open open, std::string path, const Layout& layout, const Patience& patience,
            std::size_t ahead, Identities identities = {}, std::vector<SignifyPublic> keys = {});

  /// From now on names() has what shows whether this segment should exist: its forms and those of
  /// the one before; a later file on its timeline, if any; for each later timeline its history and
  /// some segments, including one after this one; the history of its own timeline, unless it has
  /// earlier WAL; loss records. This takes at most one request for each later timeline, and one or
  /// two more, regardless of the archive's size.
  void look_around(wal::SegmentName segment);
  /// The same for a history: all histories, the first segments of each timeline, the records.
  void look_around_histories();

  /// It will be read from start to end. Kept in memory until release().
  void expect(wal::SegmentName segment);
  void release(wal::SegmentName segment);
  /// From now on each segment is fetched whole, by one request, once more than its start is read;
  /// that many are kept. `watch` is called, in any thread, with the SHA-256 of the stored bytes of
  /// each fetched object. Must be called before anything is read.
  using Watch = std::function<void(const std::string& key, const std::string& sha256)>;
  void read_whole_segments(std::size_t kept, Watch watch);
  /// From now on listings do not have segments that are pruned (is_pruned()), complete or not.
  void hide_before(std::vector<wal::SegmentName> begins);
  /// Absent files will be checked again.
  void forget_absences();
  /// The same, and what look_around() has seen is read again.
  void look_again();
  /// An archiver has used this place: it has a "pgweir.json", or WAL.
  [[nodiscard]] bool is_claimed();
  /// The segments and histories in the manifests' newest lines (read_last_lines()). Requested once
  /// and cached: a file that is stored meanwhile is found by another lookup.
  [[nodiscard]] const archive::Listing& told();
  /// True if the store has this segment as a partial one, which is not read because of the public
  /// keys.
  [[nodiscard]] bool has_unproved(wal::SegmentName segment);
  /// The listed objects of this file: encrypted or not.
  [[nodiscard]] std::vector<std::string> keys_of(const std::string& name) const;

  [[nodiscard]] const std::string& path() const override { return path_; }
  [[nodiscard]] std::vector<io::DirectoryEntry> list() override;
  [[nodiscard]] std::optional<io::DirectoryEntry> find(const std::string& name) override;
  [[nodiscard]] std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override;
  [[nodiscard]] io::Identities* identities() override { return this; }

 private:
  using Content = std::shared_ptr<const std::vector<std::byte>>;
  /// Keys after `after` that start with `prefix`, up to `to` or, without it, all.
  struct Listed {
    std::string prefix;
    std::string after;
    std::optional<std::string> to;
    [[nodiscard]] bool has(const std::string& key) const;
  };

  std::optional<io::FileIdentity> of(const std::string& name) override;
  io::FileIdentity of_directory() override { return {}; }
  bool leads_to(const std::string&, const io::File&) override { return false; }

  [[nodiscard]] ObjectStore& store();
  std::optional<std::string> read_page(const std::string& prefix, const std::string& after,
                                       std::size_t most);
  void read_all(const std::string& prefix);
  void survey(std::string after);
  void survey_around(wal::SegmentName segment);
  [[nodiscard]] std::string beginning_of(wal::SegmentName segment) const;
  [[nodiscard]] std::optional<std::string> behind(const std::string& last) const;
  struct Known {
    ObjectEntry object;
    bool encrypted = false;
    [[nodiscard]] std::uint64_t size() const;
  };
  [[nodiscard]] std::optional<Known> known(const std::string& key, bool& absent) const;
  [[nodiscard]] std::optional<std::string> name_of(const std::string& key) const;
  [[nodiscard]] std::optional<Known> look_for(const std::string& name, const std::string& key);
  [[nodiscard]] std::optional<Known> resolve(const std::string& name);
  [[nodiscard]] std::vector<OpenObject> open_objects(wal::SegmentName segment);
  [[nodiscard]] std::vector<OpenObject> all_open_objects(wal::SegmentName segment);
  [[nodiscard]] std::optional<OpenObject> soundest(const std::vector<OpenObject>& objects);
  [[nodiscard]] std::optional<std::vector<std::byte>> sound_content(const OpenObject& object);
  [[nodiscard]] std::unique_ptr<io::Bytes> open_open_segment(wal::SegmentName segment);
  void add_open_segments(std::vector<io::DirectoryEntry>& entries) const;
  [[nodiscard]] bool sees_segment(const std::function<bool(wal::SegmentName)>& is_it) const;
  [[nodiscard]] Content content_of(const std::string& name, const Known& known, bool keep);
  void require_proved(const std::string& key, std::span<const std::byte> bytes);
  [[nodiscard]] std::optional<bool> is_proved(const std::string& object, const std::string& sha256);
  void keep_recent(const std::string& key, const Content& content);
  void forget(const std::string& key);

  const Open open_;
  const std::string path_;
  const Layout layout_;
  const Patience patience_;
  const std::size_t ahead_;
  const Identities identities_;
  const std::vector<SignifyPublic> keys_;
  std::size_t kept_whole_ = 0;  ///< 0: segments are read in pieces, except for expected ones
  Watch watch_ = nullptr;

  mutable std::mutex mutex_;  // guards all below
  std::optional<wal::SegmentName> around_;
  bool histories_only_ = false;
  bool surveyed_ = false;
  std::vector<wal::SegmentName> begins_;      ///< earlier segments are hidden
  std::map<std::string, ObjectEntry> there_;  ///< by key
  std::vector<Listed> listed_;
  std::set<wal::SegmentName> expected_;
  std::optional<archive::Listing> told_;
  /// SHA-256 in proved lines, by the last part of keys.
  std::optional<std::multimap<std::string, std::string>> proofs_;
  std::map<std::string, Content> contents_;               ///< by key: expected and small objects
  std::deque<std::pair<std::string, Content>> recent_;    ///< segments by key, the newest last
  std::map<std::string, std::vector<std::byte>> fronts_;  ///< starts of other objects, by key
};

}  // namespace weir::store
