#include "relay/entrance_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "relay/command.h"
#include "wire/bytes.h"

namespace weir::relay {

namespace {

enum class Wanted { physical, logical, none, unknown };

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

/// As parse_bool() parses a boolean (utils/adt/bool.c): any unique prefix of a word.
Wanted wanted(std::string_view text) {
  if (text.empty()) return Wanted::none;
  if (text == "database") return Wanted::logical;
  const auto value = lower_case(text);
  const auto begins = [&](std::string_view word, std::size_t least) {
    return value.size() >= least && word.starts_with(value);
  };
  if (value == "1" || begins("true", 1) || begins("yes", 1) || begins("on", 2))
    return Wanted::physical;
  if (value == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2))
    return Wanted::none;
  return Wanted::unknown;
}

/// As pg_clean_ascii() does it: a name is for logs and lists.
std::string clean(std::string_view name) {
  std::string result(name.substr(0, kNameLength - 1));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return result;
}

/// A record of TLS whose content is a handshake.
constexpr char kTlsHandshake = 0x16;

std::string_view encryption(const Peer& peer) {
  return peer.encrypted ? "SSL encryption" : "no encryption";
}

}  // namespace

EntranceState::State EntranceState::on_bytes(std::span<const std::byte> bytes) {
  if (state_ != State::open) return state_;
  const bool first = input_.empty() && !asked_for_tls_ && !asked_for_gss_;
  input_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // In a startup packet these bytes would be the length, and far too large.
  if (first && offers_tls_ && input_.starts_with(kTlsHandshake)) return state_ = State::encrypts;
  while (state_ == State::open && step()) {
  }
  return state_;
}

EntranceState::State EntranceState::on_encrypted(Encryption encryption) {
  const bool direct = !asked_for_tls_;
  asked_for_tls_ = asked_for_gss_ = true;  // PostgreSQL accepts neither of them within it
  peer_.encrypted = true;
  encryption_ = std::move(encryption);
  input_.clear();
  state_ = State::open;
  // Otherwise it may be any client that uses TLS (backend_startup.c of 17).
  if (direct && !encryption_->protocol_named)
    leave("received direct SSL connection request without ALPN protocol negotiation extension");
  return state_;
}

/// False: more bytes are needed.
bool EntranceState::step() { return scram_ ? take_password() : take_startup(); }

bool EntranceState::take_startup() {
  const auto read = wire::read_startup(std::as_bytes(std::span(input_)));
  if (std::holds_alternative<wire::Incomplete>(read.packet)) return false;
  if (const auto* report = std::get_if<wire::ErrorReport>(&read.packet)) {
    if (report->sqlstate.empty())
      leave(report->message);  // it may be no client of ours at all
    else
      refuse(*report);
    return true;
  }
  input_.erase(0, read.size);
  if (std::holds_alternative<wire::SslRequest>(read.packet)) {
    answer(asked_for_tls_, offers_tls_, "SSL request", 5679);
  } else if (std::holds_alternative<wire::GssRequest>(read.packet)) {
    answer(asked_for_gss_, false, "GSSAPI encryption request", 5680);
  } else if (const auto* startup = std::get_if<wire::Startup>(&read.packet)) {
    return take_startup(*startup);
  } else {
    cancel_ = std::get<wire::CancelRequest>(read.packet);
    leave(std::nullopt);  // without an answer, right or wrong
  }
  return true;
}

void EntranceState::answer(bool& asked, bool yes, std::string_view what, std::uint32_t code) {
  if (asked)
    return refuse({"0A000", fmt::format("unsupported frontend protocol 1234.{}: server supports "
                                        "3.0 to 3.0",
                                        code)});
  asked = true;
  if (!yes) output_.push_back('N');
  // Bytes after the request were not encrypted, and their sender is unknown: treating them as if
  // they were encrypted would let an attacker inject them into the client's session
  // (CVE-2021-23214).
  if (!input_.empty())
    return refuse({"08P01", fmt::format("received unencrypted data after {}", what),
                   "This could be either a client-software bug or evidence of an attempted "
                   "man-in-the-middle attack."});
  if (!yes) return;
  output_.push_back('S');
  state_ = State::encrypts;
}

bool EntranceState::take_startup(const wire::Startup& startup) {
  if (const auto options = startup.protocol_options();
      startup.version != wire::kProtocolVersion || !options.empty())
    wire::append_negotiate_version(output_, wire::kProtocolVersion, options);
  user_ = std::string(startup.parameter("user").substr(0, kNameLength - 1));
  application_name_ = clean(startup.parameter("application_name"));
  if (user_.empty()) {
    refuse({"28000", "no PostgreSQL user name specified in startup packet"});
    return true;
  }
  const auto replication = startup.parameter("replication");
  switch (wanted(replication)) {
    case Wanted::unknown:
      refuse({"22023",
              fmt::format("invalid value for parameter \"replication\": \"{}\"", replication),
              {},
              "Valid values are: \"false\", 0, \"true\", 1, \"database\"."});
      return true;
    case Wanted::none:
    case Wanted::logical:
      refuse({"28000", std::string(kReplicationOnly),
              "This is pgweir, which serves an archive of WAL. It has no databases.",
              "Connect with replication=true, and without a database name."});
      return true;
    case Wanted::physical:
      break;
  }
  authenticate();
  return true;
}

void EntranceState::authenticate() {
  const auto match = access_.rules.find(peer_, user_, peer_.own_networks);
  rule_line_ = match ? match->line : 0;
  const auto from = to_string(peer_);
  if (!match)
    return refuse(
        {"28000", fmt::format("no pg_hba.conf entry for replication connection from host \"{}\", "
                              "user \"{}\", {}",
                              from, user_, encryption(peer_))},
        "no line of the HBA file matches");
  switch (match->method) {
    case Method::trust:
      return admit();
    case Method::reject:
      return refuse(
          {"28000", fmt::format("pg_hba.conf rejects replication connection for host \"{}\", user "
                                "\"{}\", {}",
                                from, user_, encryption(peer_))},
          "a line of the HBA file rejects it");
    case Method::peer:
      if (peer_.local_user == user_) return admit();
      return refuse({"28000", fmt::format("Peer authentication failed for user \"{}\"", user_)},
                    peer_.local_user
                        ? fmt::format("the operating system user is {}", *peer_.local_user)
                        : "the operating system user is unknown, or not part of the user "
                          "namespace (PrivateUsers= of systemd)");
    case Method::cert:
      return check_certificate();
    case Method::scram:
      break;
  }
  const auto* const secret = access_.users.find(user_);
  scram_.emplace(secret != nullptr ? *secret : access_.users.made_up(user_), secret == nullptr,
                 nonce_, encryption_ ? encryption_->end_point : std::nullopt);
  constexpr std::array kMechanisms = {kScramPlusMechanism, kScramMechanism};
  wire::append_sasl_mechanisms(output_, std::span(kMechanisms).subspan(scram_->can_bind() ? 0 : 1));
}

/// The connection is encrypted: a rule for unencrypted ones cannot require a certificate.
void EntranceState::check_certificate() {
  if (!encryption_ || !encryption_->certificate)
    return refuse({"28000", "connection requires a valid client certificate"});
  const auto& name = encryption_->common_name;
  if (name == user_) return admit();
  refuse({"28000", fmt::format("certificate authentication failed for user \"{}\"", user_)},
         name ? fmt::format("the certificate is that of \"{}\"", clean(*name))
              : std::string("the certificate has no name"));
}

bool EntranceState::take_password() {
  const auto read = wire::read_client_message(std::as_bytes(std::span(input_)), kMaxSaslMessage);
  // A client that has no password disconnects, which is not logged.
  if (std::holds_alternative<wire::Incomplete>(read) && (input_.empty() || input_.front() == 'p'))
    return false;
  const auto* const message = std::get_if<wire::ClientMessage>(&read);
  if (input_.front() == 'X') {
    leave(std::nullopt);
    return true;
  }
  if (input_.front() != 'p') {
    refuse({"08P01", fmt::format("expected SASL response, got message type {}",
                                 static_cast<int>(static_cast<unsigned char>(input_.front())))});
    return true;
  }
  if (message == nullptr) {
    refuse(std::get<wire::ErrorReport>(read));
    return true;
  }
  auto data = message->text();
  if (!mechanism_chosen_) {
    // SASLInitialResponse: the mechanism's name, then a length and the first message, or -1.
    const auto end = data.find('\0');
    const auto name = data.substr(0, end);
    const auto rest = message->body.subspan(
        std::min(message->body.size(), end == data.npos ? data.size() : end + 1));
    if (end == std::string_view::npos || rest.size() < 4) {
      refuse({"08P01", "invalid message format"});
      return true;
    }
    const bool plus = scram_->can_bind() && name == kScramPlusMechanism;
    if (plus) scram_->bind();
    if (!plus && name != kScramMechanism) {
      refuse({"08P01", "client selected an invalid SASL authentication mechanism"});
      return true;
    }
    const auto length = wire::read_u32(rest);
    if (length == 0xffffffff && rest.size() == 4) {
      mechanism_chosen_ = true;
      wire::append_sasl_continue(output_, "");
      input_.erase(0, message->size);
      return true;
    }
    if (length != rest.size() - 4) {
      refuse({"08P01", "invalid message format"});
      return true;
    }
    mechanism_chosen_ = true;
    data = {reinterpret_cast<const char*>(rest.data()) + 4, length};
  }
  const auto answer = scram_->on_message(data);
  input_.erase(0, message->size);
  take_answer(answer);
  return true;
}

void EntranceState::take_answer(const ScramExchange::Answer& answer) {
  if (const auto* challenge = std::get_if<ScramExchange::Challenge>(&answer)) {
    wire::append_sasl_continue(output_, challenge->data);
  } else if (const auto* proved = std::get_if<ScramExchange::Proved>(&answer)) {
    wire::append_sasl_final(output_, proved->data);
    admit();
  } else if (const auto* report = std::get_if<wire::ErrorReport>(&answer)) {
    refuse(*report);
  } else {
    refuse({"28P01", fmt::format("password authentication failed for user \"{}\"", user_)},
           access_.users.find(user_) == nullptr ? "the users file does not contain this user"
                                                : "the password is wrong");
  }
}

void EntranceState::refuse(const wire::ErrorReport& report, std::string why) {
  wire::append_error(output_, wire::Severity::fatal, report);
  auto told = report.message;
  if (!why.empty()) told += fmt::format(" ({})", why);
  if (rule_line_ != 0) told += fmt::format(", by line {} of the HBA file", rule_line_);
  leave(std::move(told));
}

void EntranceState::leave(std::optional<std::string> why) {
  refusal_ = std::move(why);
  state_ = State::left;
  input_.clear();
}

}  // namespace weir::relay
