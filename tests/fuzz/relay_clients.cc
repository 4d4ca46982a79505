// What clients of the relay say, from the first byte on: whatever it is, it is answered or refused,
// and what has to be kept of it stays small.

#include "fuzz.h"
#include "relay/entrance_state.h"
#include "relay/walsender_state.h"
#include "unit/relay/client_script.h"
#include "unit/relay/scram_client.h"

using namespace weir;

namespace {

constexpr std::uint64_t kMb = 1 << 20;

const relay::Access& access() {
  static const relay::Access made = [] {
    relay::Access access;
    access.rules = relay::Rules::parse(
        "local replication trusted trust\nlocal replication all scram-sha-256\n"
        "hostssl replication trusted all cert\nhost replication all all scram-sha-256\n",
        "rules");
    access.users = relay::Users::parse(
        "\"repl\" \"" + relay::ScramClient::secret_of("secret", "0123456789abcdef", 1) + "\"",
        "users");
    return access;
  }();
  return made;
}

/// Pieces of a client's words as the input cuts them.
template <typename Take>
void in_pieces(std::span<const std::byte> input, Take take) {
  const std::size_t piece = 1 + fuzz::take(input);
  for (std::size_t at = 0; at < input.size(); at += piece)
    take(input.subspan(at, std::min(piece, input.size() - at)));
}

void enter(std::span<const std::byte> input) {
  const auto how = fuzz::take(input);
  const bool offers_tls = (how & 1) != 0;
  relay::Peer peer;
  if (offers_tls) peer.address = net::Ip::parse("192.0.2.7");
  relay::EntranceState state(access(), peer, "nonce", offers_tls);
  in_pieces(input, [&](std::span<const std::byte> piece) {
    const bool encrypted = state.peer().encrypted;
    if (state.on_bytes(piece) == relay::EntranceState::State::encrypts) {
      PGWEIR_CHECK(offers_tls && !encrypted);
      state.on_encrypted({(how & 2) != 0, (how & 4) != 0,
                          (how & 8) != 0 ? std::optional<std::string>("trusted") : std::nullopt,
                          (how & 16) != 0 ? std::optional<std::string>("hash") : std::nullopt});
      PGWEIR_CHECK(state.rest().empty());
    }
    PGWEIR_CHECK(state.state() == relay::EntranceState::State::admitted ||
                 state.rest().size() <= wire::kMaxStartupPacket + 4);
    PGWEIR_CHECK(state.output().size() <= 2 * wire::kMaxStartupPacket + 1024);
  });
  // Nobody knows the password here.
  if (state.state() != relay::EntranceState::State::admitted) return;
  PGWEIR_CHECK(state.user() == "trusted");
  PGWEIR_CHECK(!offers_tls || (state.peer().encrypted && (how & 4) != 0 && (how & 8) != 0));
}

/// Slots as another session and the disk may leave them, by turns.
struct FuzzSlots {
  int asked = 0;
  relay::SlotAnswer answer(const relay::SlotQuestion& question) {
    switch (++asked % 4) {
      case 0:
        return relay::slot_answer::Busy{{"55006", "in use"}};
      case 1:
        return wire::ErrorReport{"42704", "not there"};
      default:
        break;
    }
    if (std::holds_alternative<relay::slot_question::List>(question))
      return relay::slot_answer::Listed{"[]"};
    if (const auto* use = std::get_if<relay::slot_question::Use>(&question);
        use != nullptr && !use->make && asked % 4 == 2)
      return relay::slot_answer::ToMake{};
    if (!std::holds_alternative<relay::slot_question::Read>(question))
      return relay::slot_answer::Done{};
    if (asked % 4 == 2) return relay::slot_answer::NotThere{};
    return relay::slot_answer::Found{wal::Lsn(static_cast<std::uint64_t>(asked) << 20)};
  }
};

void stream(std::span<const std::byte> input) {
  relay::WalsenderState state({.cluster = {1, *wal::SegmentSize::of(kMb), 18},
                               .application_name = "fuzz",
                               .has_backups = true});
  const relay::Served served{*wal::TimelineHistory::parse(2, "1\t0/180000\tx\n"),
                             wal::Lsn(2 * kMb)};
  relay::WalsenderState::Now now{};
  FuzzSlots slots;
  const bool reads = (fuzz::take(input) & 1) != 0;
  in_pieces(input, [&](std::span<const std::byte> piece) {
    if (!state.takes_bytes()) return;
    state.on_bytes(piece);
    for (int step = 0; step < 20; ++step) {
      now.time += std::chrono::milliseconds(700);
      const auto next = state.next(served, now);
      if (const auto* wanted = std::get_if<relay::WalsenderState::ReadWal>(&next)) {
        PGWEIR_CHECK(wanted->from < wanted->limit && wanted->limit <= served.end);
        const auto count = std::min<std::uint64_t>(5000, wanted->limit - wanted->from);
        state.on_wal(relay::piece_of(test::Bytes(count)), now);
      } else if (std::holds_alternative<relay::WalsenderState::ReadHistory>(next)) {
        state.on_history(step % 2 == 0 ? std::optional<std::string>("x") : std::nullopt);
      } else if (const auto* asked = std::get_if<relay::WalsenderState::AskSlots>(&next)) {
        static_cast<void>(state.take_slot_errand());
        state.on_slots(slots.answer(asked->question), served, now);
      } else if (std::holds_alternative<relay::WalsenderState::BeginBackup>(next)) {
        if (step % 2 == 0) {
          state.on_no_backup({"53300", "x"});
        } else {
          state.on_backup_begun();
          state.on_backup_end(relay::WalsenderState::BackupEnd::done);
        }
      } else {
        break;
      }
      // What goes out is messages, one after the other, each whole.
      auto output = state.output().all();
      relay::hear(output);
      PGWEIR_CHECK(output.empty() || !reads);
      if (reads) relay::drop_all(state.output());
    }
    PGWEIR_CHECK(state.output().size() < 256u * 1024);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto input = fuzz::bytes(data, size);
  if ((fuzz::take(input) & 1) != 0)
    enter(input);
  else
    stream(input);
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  using relay::query;
  using relay::say;
  std::vector<test::Bytes> inputs;
  const auto add = [&](const std::string& text) { inputs.push_back(test::bytes_of(text)); };
  for (const auto* user : {"trusted", "repl"}) {
    const auto startup = relay::startup({{"user", user}, {"replication", "true"}});
    add(std::string("\x01\0\xff", 3) + startup);
    // The question for TLS, and in a piece of its own what is said inside.
    for (const char how : {'\x1f', '\x01', '\x07'}) {
      add(std::string("\x01") + how + '\x07' + relay::request(80877103) + startup);
      add(std::string("\x01") + how + '\xff' + '\x16' + std::string(255, 'x') + startup);
    }
    add(std::string("\x01\0\xff", 3) + startup +
        say('p', std::string("SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=xy", 28)) +
        say('p', "c=biws,r=xynonce,p=" + std::string(43, 'A') + "="));
  }
  add(std::string("\x01\0\x03", 3) + relay::request(80877103) + relay::request(80877104));
  const std::string status = wire::encode(wire::StandbyStatus{{}, {}, {}, true}, 0);
  const std::string feedback = wire::encode(wire::HotStandbyFeedback{1, 2, 3, 4}, 0);
  for (const auto* head : {"\x02\x01\xff", "\x02\x02\xff"}) {
    add(head + query("IDENTIFY_SYSTEM") + query("SHOW wal_segment_size") +
        query("SHOW pgweir.replication_slots") + query("TIMELINE_HISTORY 2") +
        query("CREATE_REPLICATION_SLOT \"a\" PHYSICAL (RESERVE_WAL)"));
    add(head + query("START_REPLICATION 0/100000 TIMELINE 1") + say('d', status) +
        say('d', feedback) + say('c', "") +
        query("START_REPLICATION PHYSICAL 0/180000 TIMELINE 2") + say('c', "") + say('X', ""));
    add(head + query("START_REPLICATION 0/300000") + say('d', status) + say('c', ""));
    add(head + say('P', "x") + say('B', "x") + say('S', "") + say('F', ""));
  }
  return inputs;
}
