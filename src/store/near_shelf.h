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
#include "store/age_keys.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "store/open_object.h"
#include "store/signify.h"
#include "wal/segment.h"

namespace weir::store {

/// An archive in a store, for all that reads archives: its segments, histories and records of
/// losses under the names that they have in a directory. Other names are never there. It knows what
/// it has seen, and asks little, for the sake of a recovery that asks for one file after the other:
/// one listing by a segment's name tells of all its forms; what is expected is fetched whole, by
/// one request; and names() need not be all names (look_around()). What was once seen is not asked
/// for again: objects are written once, so this is for a command, and not for one that runs long.
///
/// What may pass is asked for again for some time; then, and for all other trouble, StoreError:
/// what could not be looked at is never told as not there (P9). Does not own what it is given, nor
/// what `open` gives, which is called when the store is first needed. Any thread; its files, as
/// Bytes are, one each.
///
/// An open segment (open_object.h) is there as "N.zst.partial": the object that reaches furthest of
/// those that are sound. names() has it where it has all names, and where the segment itself is not
/// there. Two archivers' objects that disagree are Error{conflict} when one of them is opened.
class NearShelf final : public io::Shelf, private io::Identities {
 public:
  using Open = std::function<ObjectStore&()>;
  /// Keys that read what is encrypted (age_file.h): "N.zst.age" is there as "N.zst". Without the
  /// right one it is there as well, and opening it is Error{refused}.
  using Identities = std::vector<AgeIdentity>;
  /// `path` is for messages. `ahead`: so many names are listed where one is asked for: those behind
  /// it will be asked for, too.
  /// With `keys`, the content of a segment or history is given only if a line that one of them
  /// proves tells its SHA-256; Error{retry} where no line tells of it (it may be written yet),
  /// Error{damage} where one tells of another content. Open segments have no lines: Error{refused}.
  NearShelf(Open open, std::string path, const Layout& layout, const Patience& patience,
            std::size_t ahead, Identities identities = {}, std::vector<SignifyPublic> keys = {});

  /// From now on names() has what tells whether this segment ought to be there: its forms and those
  /// of the one before; something behind it on its timeline, if there is anything; of each later
  /// timeline its history and some segments, one of those behind this one among them; its own
  /// timeline's history, unless there is WAL of it before; records of losses. Whatever the archive
  /// holds, that is one request for each later timeline at most, and one or two more.
  void look_around(wal::SegmentName segment);
  /// Likewise for a history: all histories, the first segments of each timeline, the records.
  void look_around_histories();

  /// It will be read from its front to its end. Kept in memory until release().
  void expect(wal::SegmentName segment);
  void release(wal::SegmentName segment);
  /// From now on each segment is fetched whole, by one request, once more of it is read than its
  /// front; so many of them are kept. `watch` is told the SHA-256 of the stored bytes of each
  /// object that was, in whichever thread. Called before anything is read.
  using Watch = std::function<void(const std::string& key, const std::string& sha256)>;
  void read_whole_segments(std::size_t kept, Watch watch);
  /// What was not there may be by now.
  void forget_absences();
  /// Likewise, and what look_around() has seen is looked at anew.
  void look_again();
  /// Somebody has sent to this place: it has a "pgweir.json", or WAL.
  [[nodiscard]] bool is_claimed();
  /// The segments and histories that the manifests' newest lines tell of (read_last_lines()). Asked
  /// for once: what is told stays told, so a file that is stored meanwhile is found by looking
  /// again.
  [[nodiscard]] const archive::Listing& told();
  /// The objects that are there as this file, of those that were listed: encrypted or not.
  [[nodiscard]] std::vector<std::string> keys_of(const std::string& name) const;

  [[nodiscard]] const std::string& path() const override { return path_; }
  [[nodiscard]] std::vector<io::DirectoryEntry> list() override;
  [[nodiscard]] std::optional<io::DirectoryEntry> find(const std::string& name) override;
  [[nodiscard]] std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override;
  [[nodiscard]] io::Identities* identities() override { return this; }

 private:
  using Content = std::shared_ptr<const std::vector<std::byte>>;
  /// Keys behind `after` that begin with `prefix`, up to `to` or, without it, all of them.
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
  std::size_t kept_whole_ = 0;  ///< 0: segments come in pieces, but for expected ones
  Watch watch_ = nullptr;

  mutable std::mutex mutex_;  // all below is guarded by it
  std::optional<wal::SegmentName> around_;
  bool histories_only_ = false;
  bool surveyed_ = false;
  std::map<std::string, ObjectEntry> there_;  ///< by key
  std::vector<Listed> listed_;
  std::set<wal::SegmentName> expected_;
  std::optional<archive::Listing> told_;
  /// By the last part of keys: SHA-256 that proved lines tell.
  std::optional<std::multimap<std::string, std::string>> proofs_;
  std::map<std::string, Content> contents_;               ///< by key: of expected ones, small ones
  std::deque<std::pair<std::string, Content>> recent_;    ///< by key, of segments: the newest last
  std::map<std::string, std::vector<std::byte>> fronts_;  ///< by key: of others
};

}  // namespace weir::store
