%% What the proxy understands of the MySQL client/server protocol: where the packets of the client's
%% direction begin and end, the user who logs in, and the last command. Bytes are never changed.
%%
%% Where packets cannot be told (TLS, compression) it says `opaque`, and the proxy passes bytes only.
-module(ump_proxy_wire).

-export([new/0, client/2, user/1, pending/1, error_packet/1]).
-export_type([state/0, pending/0]).

-record(wire, {at = {header, <<>>} :: at(),
               login = wanted :: wanted | binary() | done | opaque,
               user :: binary() | undefined,
               pending = none :: pending()}).

-type at() :: {header, binary()}                    % less than the five bytes that begin a packet
            | {body, non_neg_integer()}.            % so many bytes of the packet are still to come
-type pending() :: none                             % nothing said yet, or a packet half said
                 | opaque
                 | login
                 | {command, byte()}.               % said in full; the backend's turn, if it has one
-opaque state() :: #wire{}.

-define(CLIENT_COMPRESS, 16#20).
-define(CLIENT_SSL, 16#800).
%% Longer than any handshake response; a user's name is in its beginning.
-define(LOGIN_MAX, 65536).

-spec new() -> state().
new() ->
    #wire{}.

%% Takes what the client said next.
-spec client(binary(), state()) -> state().
client(_Data, #wire{login = opaque} = Wire) ->
    Wire;
client(Data, #wire{at = {header, Begin}} = Wire) ->
    packet(<<Begin/binary, Data/binary>>, Wire);
client(Data, #wire{at = {body, _}} = Wire) ->
    body(Data, Wire).

-spec user(state()) -> binary() | undefined.
user(#wire{user = User}) ->
    User.

%% What the client has said in full and not got an answer to, as far as its own direction tells.
-spec pending(state()) -> pending().
pending(#wire{login = opaque}) ->
    opaque;
pending(#wire{at = {header, <<>>}, pending = Pending}) ->
    Pending;
pending(#wire{}) ->
    none.

%% An ERR packet in place of the server's greeting: a client prints it as its own error.
-spec error_packet(iodata()) -> binary().
error_packet(Text) ->
    Payload = iolist_to_binary([<<16#ff, 1105:16/little>>, Text]),
    <<(byte_size(Payload)):24/little, 0, Payload/binary>>.

%% An empty packet has no first byte: it ends data that filled its packets to the brim.
packet(<<0:24/little, _Sequence, Rest/binary>>, Wire) ->
    packet(Rest, Wire);
packet(<<Length:24/little, Sequence, First, _/binary>> = Data, Wire) ->
    <<_:4/binary, Body/binary>> = Data,
    body(Body, first(Sequence, First, Wire#wire{at = {body, Length}}));
packet(Begin, Wire) ->
    Wire#wire{at = {header, binary:copy(Begin)}}.

%% A command is numbered 0; later numbers belong to the command, or the login, under way.
first(_Sequence, _First, #wire{login = wanted} = Wire) ->
    Wire#wire{login = <<>>, pending = login};
first(0, Command, Wire) ->
    Wire#wire{pending = {command, Command}};
first(_Sequence, _First, Wire) ->
    Wire.

body(Data, #wire{at = {body, Left}} = Wire) when byte_size(Data) < Left ->
    login(Data, Wire#wire{at = {body, Left - byte_size(Data)}});
body(Data, #wire{at = {body, Left}} = Wire) ->
    <<Body:Left/binary, Rest/binary>> = Data,
    case login(Body, Wire#wire{at = {header, <<>>}}) of
        #wire{login = opaque} = Opaque -> Opaque;
        Next -> packet(Rest, Next)
    end.

%% Collects the handshake response and reads the user out of it.
login(Data, #wire{login = Begin} = Wire) when is_binary(Begin), byte_size(Begin) + byte_size(Data) =< ?LOGIN_MAX ->
    Login = <<Begin/binary, Data/binary>>,
    case Wire#wire.at of
        {body, _} -> Wire#wire{login = Login};
        {header, <<>>} -> logged_in(Login, Wire)
    end;
login(_Data, #wire{login = Begin} = Wire) when is_binary(Begin) ->
    Wire#wire{login = opaque};
login(_Data, Wire) ->
    Wire.

logged_in(<<Capabilities:32/little, _/binary>>, Wire)
  when Capabilities band (?CLIENT_SSL bor ?CLIENT_COMPRESS) =/= 0 ->
    Wire#wire{login = opaque};
logged_in(<<_Capabilities:32, _MaxPacket:32, _Charset, _Filler:23/binary, Rest/binary>>, Wire) ->
    [User | _] = binary:split(Rest, <<0>>),
    Wire#wire{login = done, user = binary:copy(User)};
logged_in(_Other, Wire) ->
    Wire#wire{login = opaque}.
